"""Folders of a checkout, as paths relative to its top; the top itself is empty."""

from __future__ import annotations

import posixpath
from bisect import bisect_left
from collections.abc import Collection, Iterator, Sequence


def joined(*parts: str) -> str:
    """Folders, one in another, in their normal form."""
    path = posixpath.normpath(posixpath.join(*parts) or ".")
    return "" if path == "." else path


def is_inside(path: str, folder: str) -> bool:
    """Return whether a path is a folder or below it."""
    return not folder or path == folder or path.startswith(f"{folder}/")


def below(folder: str, files: Collection[str]) -> list[str]:
    """The files in a folder, relative to it."""
    return [path[len(folder) + 1 :] for path in files if path.startswith(f"{folder}/")] if folder else list(files)


def below_in_order(folder: str, files: Sequence[str]) -> list[str]:
    """As below(), of sorted files, without a look at the others: for many folders."""
    start, end = bisect_left(files, f"{folder}/"), bisect_left(files, f"{folder}0")  # 0 is next after the slash
    return [path[len(folder) + 1 :] for path in files[start:end]]


def outside(folders: Collection[str], files: Collection[str]) -> list[str]:
    """The files that are in none of these folders."""
    starts = tuple(f"{folder}/" for folder in folders)
    return [path for path in files if not path.startswith(starts)] if starts else list(files)


def ancestors(folder: str) -> Iterator[str]:
    """A folder and those above it, the top last."""
    yield folder
    while folder:
        folder = folder.rpartition("/")[0]
        yield folder
