"""Dependencies by path that lead out of the repository."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping
from typing import Any

from testgrove.core.environments.declared import read_toml
from testgrove.core.lazy_pattern import lazy_pattern

_LINE = lazy_pattern(r"^\s*(?:-e[\s=]*|--editable[\s=]*)?(\.\./[^\s;#\[]+)", re.MULTILINE)
_LOCKED = lazy_pattern(r'^source = \{ (?:editable|directory|virtual) = "([^"]+)" \}', re.MULTILINE)


def outside(files: Mapping[str, bytes], home: str, to_workspace: str) -> dict[str, str]:
    """The folders outside of the repository that a project depends on, relative to its top, with the file that says so.

    files: that decide about an environment, relative to home. home, to_workspace: see home.Home.
    """
    found: dict[str, str] = {}
    for file, content in files.items():
        base = to_workspace if file == "uv.lock" else posixpath.dirname(file)
        for path in _paths(file, content):
            whole = posixpath.normpath(posixpath.join(home, base, path))
            if whole.startswith("../") and not path.startswith("/"):
                found.setdefault(whole, posixpath.normpath(posixpath.join(home, file)))
    return found


def _paths(file: str, content: bytes) -> Iterator[str]:
    if file.endswith("pyproject.toml"):
        tool = read_toml(file, content).get("tool", {})
        poetry = tool.get("poetry", {})
        groups = [poetry, *_tables(poetry.get("group", {}))]
        for table in (tool.get("uv", {}).get("sources", {}), *(each.get("dependencies", {}) for each in groups)):
            yield from (each["path"] for each in _tables(table) if isinstance(each.get("path"), str))
    elif file == "uv.lock":
        yield from _LOCKED.findall(content.decode("utf-8", "replace"))
    elif file.endswith((".txt", ".in")):
        yield from _LINE.findall(content.decode("utf-8", "replace"))


def _tables(table: Any) -> Iterator[Mapping[str, Any]]:
    for value in table.values() if isinstance(table, dict) else ():
        for each in value if isinstance(value, list) else (value,):
            if isinstance(each, dict):
                yield each
