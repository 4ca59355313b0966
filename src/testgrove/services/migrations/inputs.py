"""The input files of a migration: those that can change its result."""

from __future__ import annotations

import os
import re
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
_TOKEN = re.compile(r"\*+|\?|\[!?\]?[^\]]*\]|.", re.DOTALL)


def read_inputs(tree: Path, globs: Sequence[str] = ()) -> Iterator[tuple[str, bytes]]:
    """Yield relative path and content of the files that match the globs, ordered by path.

    globs: as in the settings' ``inputs``. Without globs: the usual files of migration tools; if there are none, all
    Python files. ``**`` matches any number of folders. Virtual environments and ``.git`` are skipped. Raises
    UsageError (``inputs-outside``, ``inputs-empty``).
    """
    for glob in globs:
        if glob.startswith(("/", "~")) or ".." in PurePosixPath(glob).parts:
            raise UsageError(
                "inputs-outside",
                f"the pattern '{glob}' in 'inputs' points outside the project",
                hint="patterns are relative to the top of the repository",
            )
    files = sorted(files_below(tree))
    chosen = _chosen(files, globs or DEFAULT_INPUTS)
    if globs and not chosen:
        raise UsageError("inputs-empty", f"no file in {tree} matches 'inputs': {', '.join(globs)}")
    for file in chosen or _chosen(files, _FALLBACK):
        yield file, (tree / file).read_bytes()


def files_below(tree: Path) -> Iterator[str]:
    """The files of a tree, relative to it; virtual environments and ``.git`` are left out."""
    # By hand: a Path for each of ten thousand files costs half a second.
    seen = set()
    todo = [""]
    while todo:
        folder = todo.pop()
        path = f"{tree}/{folder}"
        try:
            status = os.stat(path)  # noqa: PTH116 - a folder may be reached by a link
            entries = sorted(os.scandir(path), key=lambda entry: entry.name, reverse=True)
        except OSError:
            continue
        place = (status.st_dev, status.st_ino)
        if place in seen or any(entry.name == "pyvenv.cfg" for entry in entries):
            continue
        seen.add(place)
        for entry in entries:
            if entry.is_dir():
                todo += [] if entry.name in _SKIPPED else [f"{folder}{entry.name}/"]
            elif entry.is_file() and not entry.name.endswith(".pyc"):
                yield folder + entry.name


def _chosen(files: Sequence[str], globs: Sequence[str]) -> list[str]:
    wanted = re.compile("|".join(map(_pattern, globs)))
    return [file for file in files if wanted.fullmatch(f"{file}/")]


def _pattern(glob: str) -> str:
    """A glob as a pattern for paths that end in a slash."""
    parts = glob.split("/")
    return "".join(
        "(?:[^/]+/)*" if part == "**" else "".join(map(_token, _TOKEN.findall(part))) + "/" for part in parts
    )


def _token(token: str) -> str:
    match token[0], len(token):
        case "*", _:
            return "[^/]*"
        case "?", _:
            return "[^/]"
        case "[", length if length > 1:
            inside = re.sub(r"([\\\[^&|~])", r"\\\1", token[1:-1].removeprefix("!"))
            return f"[^/{inside}]" if token[1] == "!" else f"[{inside}]"
    return re.escape(token)
