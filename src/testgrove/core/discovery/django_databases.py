"""Servers that a Django project's settings name literally: no variable leads it to another one."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

from testgrove.core.discovery.python_sources import text_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


def literal_databases(modules: Mapping[str, ast.Module], backends: str) -> Iterator[str]:
    """Yield the files with an entry of ``DATABASES`` for a backend whose name and host are literals.

    backends: a regular expression for the end of ``ENGINE``.
    """
    for path, module in modules.items():
        for node in ast.walk(module):
            if isinstance(node, ast.Dict) and _is_literal(node, backends):
                yield path
                break


def _is_literal(node: ast.Dict, backends: str) -> bool:
    values = {text_of(key): value for key, value in zip(node.keys, node.values, strict=True)}
    if not re.search(backends, text_of(values.get("ENGINE"))):
        return False
    return all(isinstance(values[key], ast.Constant) for key in ("NAME", "HOST") if key in values)
