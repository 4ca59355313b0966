"""Siblings: folders beside the repository that a project depends on by path, such as ``../shared_lib``.

In a worktree, such a path leads to the folder of all worktrees: a link of the same name is made there.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from testgrove.errors import PreconditionError
from testgrove.system.deletion import is_sibling_link, sibling_target
from testgrove.system.files import explained

_SKIPPED = {".git", ".venv", "__pycache__", "node_modules", "build", "dist"}


def link_siblings(tree: Path, main: Path, names: Sequence[str]) -> dict[str, str]:
    """Link the siblings of the main checkout next to a worktree; a signature of the content of each.

    Raises PreconditionError (``sibling-missing``; ``path-exists`` for another file in the link's place).
    """
    found = {}
    for name in names:
        source = (main / name).resolve()
        if not source.is_dir():
            message = f"siblings: {main.parent / Path(name).name} is not a folder"
            raise PreconditionError("sibling-missing", message, hint=f"clone it there, or remove '{name}'", name=name)
        link = tree.parent / Path(name).name
        if link.resolve() != source:
            with explained("link a sibling at", link):
                _link(link, source, sibling_target(main, link.name))
        with explained("look at the sibling", source):
            found[name] = _signature(source)
    return found


def _link(link: Path, source: Path, target: Path) -> None:
    try:
        link.symlink_to(target)
    except FileExistsError:
        if link.resolve() == source:  # another command was faster
            return
        if is_sibling_link(link) and not link.exists():  # the repository was moved
            link.unlink()
            link.symlink_to(target)
            return
        message = f"siblings: {link} already exists and does not lead to {source}"
        raise PreconditionError("path-exists", message, hint=f"move it away: ls -la {link}") from None


def _signature(folder: Path) -> str:
    """A hash over the names, sizes and times of a folder's files. What cannot be read is left out."""
    whole, todo = hashlib.blake2b(digest_size=16), [str(folder)]
    while todo:
        for entry in _entries(todo.pop()):
            if entry.is_dir(follow_symlinks=False):
                todo += [] if entry.name in _SKIPPED or entry.name.endswith(".egg-info") else [entry.path]
                continue
            with suppress(FileNotFoundError):  # deleted meanwhile
                status = entry.stat(follow_symlinks=False)
                line = f"{entry.path}\0{status.st_size}\0{status.st_mtime_ns}\0"
                whole.update(line.encode(errors="surrogateescape"))
    return whole.hexdigest()


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return sorted(found, key=lambda each: each.name)
    except (PermissionError, FileNotFoundError, NotADirectoryError):
        return []
