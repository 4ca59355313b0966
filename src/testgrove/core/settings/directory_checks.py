"""Checks of the folders that settings name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from testgrove.core.lazy_pattern import lazy_pattern
from testgrove.core.settings.types import Dependencies, Process, Service, Settings, Suite

_INSIDE = lazy_pattern(r"(?!/|~)(?!(?:.*/)?\.\.(?:/|$))[^\0\n]*")
_BESIDE = lazy_pattern(r"\.\./[A-Za-z0-9_][A-Za-z0-9._-]*/?")


def directory_problems(settings: Settings) -> Iterator[tuple[str, str]]:
    """Each `directory` that is not in the repository, and each sibling that is not beside it: key and problem."""
    for path in settings.siblings:
        if not _BESIDE.fullmatch(path):
            yield "siblings", f"expected folders beside the repository, such as '../shared_lib', found '{path}'"
    tables: Mapping[str, Mapping[str, Suite | Process | Service | Dependencies]] = {
        "suites": settings.suites,
        "processes": settings.processes,
        "services": settings.services,
        "dependencies": settings.dependencies,
    }
    for table, entries in tables.items():
        for name, entry in entries.items():
            if not _INSIDE.fullmatch(entry.directory):
                yield f"{table}.{name}.directory", f"expected a folder in the repository, found '{entry.directory}'"
