"""A project's Python modules as syntax trees. Only those are parsed that may say something about its surroundings."""

from __future__ import annotations

import ast
import re
import warnings
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_WORTH_PARSING = re.compile(r"environ|getenv|Settings\b|\benv\b|\bconfig\(|FastAPI\(|Flask\(|Celery\(|DATABASES")

_MOST = 5_000_000  # characters: their trees need forty times as many bytes


def parse_modules(texts: Mapping[str, str]) -> dict[str, ast.Module]:
    """The modules among texts, by path; of too many, the first. What is not Python for this interpreter is left out."""
    found, size = {}, 0
    for path, text in texts.items():
        if path.endswith(".py") and size < _MOST and _WORTH_PARSING.search(text):
            size += len(text)
            try:
                with warnings.catch_warnings(action="ignore"):  # of the project's own code
                    found[path] = ast.parse(text)
            except (SyntaxError, ValueError, RecursionError, MemoryError):
                continue
    return found


def dotted(node: ast.AST) -> str:
    """The name in an expression such as ``os.environ.get``; empty for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (base := dotted(node.value)):
        return f"{base}.{node.attr}"
    return ""


def text_of(node: ast.AST | None) -> str:
    """The value of a literal text or number; empty for anything else."""
    return str(node.value) if isinstance(node, ast.Constant) and isinstance(node.value, str | int) else ""


def own_calls(module: ast.Module, name: str) -> Iterator[tuple[str, ast.Call]]:
    """Yield where a module's top level assigns a call of ``name``, and its functions return or assign one: the name of
    the variable, or of the function with ``()``."""
    for node in module.body:
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if _calls(node.value, name) and isinstance(targets[0], ast.Name):
                yield targets[0].id, node.value  # type: ignore[misc]  # _calls() has seen that it is one
        elif isinstance(node, ast.FunctionDef):
            for each in ast.walk(node):
                if isinstance(each, ast.Call) and _calls(each, name):
                    yield f"{node.name}()", each
                    break


def _calls(node: ast.AST | None, name: str) -> bool:
    return isinstance(node, ast.Call) and dotted(node.func).rpartition(".")[2] == name
