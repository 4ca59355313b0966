"""The sub-projects of a checkout: which one the user stands in."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from testgrove.core.folders import ancestors


def directory_of(top: Path, where: Path) -> str:
    """The nearest sub-project at or above a folder, relative to the top of its checkout; empty for the top itself."""
    path = os.path.realpath(where)
    start = os.path.relpath(path, os.path.realpath(top))
    if start == "." or start.startswith(".."):
        return ""
    from testgrove.core.runs.subprojects import is_project  # noqa: PLC0415 - most commands are typed at the top

    for folder in ancestors(start):
        names = names_in(top / folder) if folder else []
        if not {"test", "tests"}.isdisjoint(folder.split("/")):  # their requirements are those of the project above
            names = [name for name in names if not name.endswith((".txt", ".in"))]
        if is_project(names, reader(top / folder)):
            return folder
    return ""


def reader(folder: Path) -> Callable[[str], str]:
    """Return a function that reads files in a folder by their relative names; empty for one that cannot be read."""

    def read(name: str) -> str:
        try:
            return (folder / name).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""

    return read


def names_in(folder: Path) -> list[str]:
    """The files of a folder, and those of its folders, as far as they tell of tests; none where it cannot be read."""
    found = []
    for path in _entries(folder):
        # Not by Path, which raises for what is in a closed folder, such as the data of a container's server.
        if os.path.isfile(path):  # noqa: PTH113
            found.append(path.name)
        elif not path.name.startswith(".") and not os.path.exists(path / "pyvenv.cfg"):  # noqa: PTH110
            found += [f"{path.name}/{each.name}" for each in _entries(path)]
    return found


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []
