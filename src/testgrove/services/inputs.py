"""The files that can change what a migration makes."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from testgrove.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# Too much only means a build that was not needed; too little means a stale template, and a test that passes falsely.
DEFAULT_INPUTS = (
    "alembic.ini",
    "**/alembic.ini",
    "**/alembic/**",
    "**/versions/**",
    "**/migrations/**",
    "**/*.sql",
    "manage.py",
    "**/settings.py",
    "**/settings/**",
)
_FALLBACK = ("**/*.py",)  # a command of the project's own: any of its code can matter
_SKIPPED = {".git", "__pycache__", "node_modules"}


def read_inputs(tree: Path, globs: Sequence[str] = ()) -> Iterator[tuple[str, bytes]]:
    """Relative path and content of the files that globs name, ordered by path.

    globs: as in the settings' ``inputs``; without any, what migration tools use by custom, and where there is
    none of that, all Python files. ``**`` stands for any number of folders. Virtual environments and ``.git``
    are left out. Raises UsageError (``inputs-outside``, ``inputs-empty``).
    """
    for glob in globs:
        if glob.startswith(("/", "~")) or ".." in PurePosixPath(glob).parts:
            raise UsageError(
                "inputs-outside",
                f"the pattern '{glob}' in 'inputs' leads out of the project",
                hint="patterns are relative to the top of the repository",
            )
    files = sorted(_files(tree))
    chosen = _chosen(files, globs or DEFAULT_INPUTS)
    if globs and not chosen:
        raise UsageError("inputs-empty", f"no file in {tree} matches 'inputs': {', '.join(globs)}")
    for file in chosen or _chosen(files, _FALLBACK):
        yield file, (tree / file).read_bytes()


def _files(tree: Path) -> Iterator[str]:
    seen = set()
    for folder, folders, names in os.walk(tree, followlinks=True):
        place = os.path.realpath(folder)
        if place in seen or "pyvenv.cfg" in names:
            folders.clear()
            continue
        seen.add(place)
        folders[:] = [name for name in folders if name not in _SKIPPED]
        for name in names:
            if not name.endswith(".pyc") and Path(folder, name).is_file():
                yield Path(folder, name).relative_to(tree).as_posix()


def _chosen(files: Sequence[str], globs: Sequence[str]) -> list[str]:
    patterns = [tuple(glob.split("/")) for glob in globs]
    return [file for file in files if any(_matches(tuple(file.split("/")), pattern) for pattern in patterns)]


@lru_cache(maxsize=10_000)
def _matches(parts: tuple[str, ...], pattern: tuple[str, ...]) -> bool:
    if not pattern:
        return not parts
    if pattern[0] == "**":
        return any(_matches(parts[skipped:], pattern[1:]) for skipped in range(len(parts) + 1))
    return bool(parts) and PurePosixPath(parts[0]).match(pattern[0]) and _matches(parts[1:], pattern[1:])
