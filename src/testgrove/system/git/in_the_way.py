"""Untracked files of a checkout in the place of a commit's files. git overwrites those that it ignores, unless told."""

from __future__ import annotations

import os
import shlex
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from testgrove.system.git.call import LONGEST, call, require
from testgrove.system.git.untracked import tracked_among, untracked_files

if TYPE_CHECKING:
    from pathlib import Path


def in_the_way(path: Path, commit: str) -> list[str]:
    """Return the untracked files, ignored ones too, where a commit, or a tree, has files that HEAD has not."""
    words = ("diff-tree", "-r", "-z", "--name-only", "--no-renames", "--diff-filter=A", "HEAD", commit)
    added = require(call(path, *words, timeout=LONGEST), f"compare the commits of {path}").fields()
    found: dict[str, None] = {}
    for name in added:
        if (path / name).is_dir() and not (path / name).is_symlink():
            found.update(dict.fromkeys(untracked_files(path, name)))
        elif os.path.lexists(path / name):
            found[name] = None
        found.update(dict.fromkeys(_above(path, name)))
    tracked = tracked_among(path, found) if found else ()
    return [name for name in found if name not in tracked]


def in_the_way_of_merge(path: Path, commit: str) -> list[str]:
    """Return those where a merge of a commit into HEAD would write files; none where git refuses to merge it.

    Those are not only the files that the commit adds: one that HEAD has deleted and the commit has changed is written
    as a conflict, and files follow a renamed folder.
    """
    answer = call(path, "merge-tree", "--write-tree", "--no-messages", "-z", "HEAD", commit, timeout=LONGEST)
    tree = answer.fields()[0] if answer.status in (0, 1) and answer.out else ""  # 1: with conflicts
    return in_the_way(path, tree) if tree else []


def _above(path: Path, name: str) -> list[str]:
    """The files and links in the place of the folders that a file is to be in."""
    folders = [str(each) for each in PurePosixPath(name).parents if each.name]
    return [each for each in folders if (path / each).is_symlink() or (path / each).is_file()]


def away(path: Path, name: str) -> str:
    """A command that moves a file out of the way."""
    here = str(path / name)
    return f"mv -n {shlex.quote(here)} {shlex.quote(here + '.mine')}"
