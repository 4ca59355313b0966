"""Differences of a checkout from git: its files, those of its submodules and of nested repositories."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from testgrove.system.closed_folders import closed_folders
from testgrove.system.files import explained
from testgrove.system.git.call import LONGEST, call, require
from testgrove.system.git.history import operation
from testgrove.system.git.repository import git_dir_of

if TYPE_CHECKING:
    from collections.abc import Collection

# With `core.ignoreCase`, git takes an untracked file for a tracked one whose name differs in case alone.
_ALL_NAMES = ("-c", "core.ignoreCase=false")


class CheckoutStatus(NamedTuple):
    """Paths relative to the checkout. modified: differ from the index, deleted ones included; staged: the
    index differs from HEAD, nothing where there is no index yet; unmerged: in conflict. untracked: ignored
    ones included, all but the top ``.venv``; nested: repositories in it, ending in "/". operation: what git
    is in the middle of (``a rebase``), or empty. submodules: those that are checked out, at any depth."""

    modified: tuple[str, ...] = ()
    staged: tuple[str, ...] = ()
    unmerged: tuple[str, ...] = ()
    untracked: tuple[str, ...] = ()
    nested: tuple[str, ...] = ()
    operation: str = ""
    submodules: tuple[str, ...] = ()


class Differences(NamedTuple):
    """The differences of a checkout from the index; the fields are as in CheckoutStatus."""

    modified: tuple[str, ...] = ()
    untracked: tuple[str, ...] = ()
    nested: tuple[str, ...] = ()


class _Listing(NamedTuple):
    """The contents of one repository's index and folder. modified: those that differ. overlooked: files that git was
    told not to look at (``update-index --assume-unchanged``, ``--skip-worktree``) and that are there. gitlinks:
    submodules.
    """

    untracked: list[str]
    nested: list[str]
    modified: list[str]
    overlooked: list[str]
    gitlinks: list[str]


def status(path: Path) -> CheckoutStatus:
    """Look at a checkout. Raises UnavailableError when git cannot."""
    found = _listing(path)
    submodules = _look_into(path, found)
    modified, staged, unmerged = _tracked(path, submodules)
    modified += [name for name in found.modified if name not in modified]
    git_dir = git_dir_of(path)
    if not _has_index(git_dir):
        staged = []  # an incomplete checkout: its user did not stage the deletion of every file
    modified += [name for name in found.overlooked if name not in modified]  # git itself does not report them
    return CheckoutStatus(
        tuple(modified),
        tuple(staged),
        tuple(unmerged),
        tuple(found.untracked),
        (*found.nested, *environment_clones(path)),
        operation(git_dir),
        tuple(submodules),
    )


def _has_index(git_dir: Path) -> bool:
    """Return whether a checkout has an index. An unreadable one is an error, not a missing one."""
    with explained("inspect the index of", git_dir):
        try:
            (git_dir / "index").lstat()
        except FileNotFoundError:
            return False
    return True


def differences(path: Path) -> Differences:
    """Return what status() has of it, except for staged changes: by one process of git where there are no submodules.

    Raises UnavailableError when git cannot tell.
    """
    found = _listing(path, "--modified")
    modified = found.modified
    if found.gitlinks:
        modified, _, _ = _tracked(path, _look_into(path, found))
        modified += [name for name in found.modified if name not in modified]
    modified += [name for name in found.overlooked if name not in modified]
    return Differences(tuple(modified), tuple(found.untracked), (*found.nested, *environment_clones(path)))


def _look_into(path: Path, found: _Listing) -> list[str]:
    """Add the files of submodules, at any depth, to the listing; return the submodules that are checked out."""
    untracked, nested = found.untracked, found.nested
    submodules, todo = [], list(found.gitlinks)
    while todo:
        name = todo.pop()
        if not os.path.lexists(path / name / ".git"):
            untracked += _files_below(path, name)  # git does not list what is in the folder of one that is not there
            continue
        submodules.append(name)
        # `git status` passes none of its settings on to submodules, and reports only that something was modified there.
        inner = _listing(path / name, "--modified")
        found.modified.extend(f"{name}/{each}" for each in inner.modified)
        found.overlooked.extend(f"{name}/{each}" for each in inner.overlooked)
        untracked += [f"{name}/{each}" for each in inner.untracked]
        nested += [f"{name}/{each}" for each in inner.nested]
        todo += [f"{name}/{each}" for each in inner.gitlinks]
    return submodules


def _files_below(path: Path, name: str) -> list[str]:
    return [
        os.path.relpath(f"{folder}/{each}", path)
        for folder, folders, files in os.walk(path / name)
        for each in (*files, *(inner for inner in folders if (Path(folder) / inner).is_symlink()))
    ]


def environment_clones(path: Path) -> list[str]:
    """The clones that ``pip install -e git+URL`` makes in the environment; its other files can be made again."""
    return [f"{clone.parent.relative_to(path)}/" for clone in path.glob(".venv/src/*/.git")]


def _tracked(path: Path, submodules: Collection[str]) -> tuple[list[str], list[str], list[str]]:
    words = (
        *_ALL_NAMES,
        "status",
        "--porcelain=v2",
        "-z",
        "--untracked-files=no",
        "--no-renames",
        "--ignore-submodules=none",
    )
    answer = require(call(path, *words, timeout=LONGEST), f"read the status of {path}", code="status-failed")
    modified, staged, unmerged = [], [], []
    for line in answer.fields():
        kind, _, rest = line.partition(" ")
        if kind not in ("1", "u"):
            continue
        fields = rest.split(" ", 7 if kind == "1" else 9)
        index, tree, submodule, name = fields[0][0], fields[0][1], fields[1], fields[-1]
        if kind == "u":
            unmerged.append(name)
            continue
        if index != ".":
            staged.append(name)
        # Untracked files in a submodule are listed one by one, for only some of them are the user's.
        if tree != "." and not (submodule == "S..U" and name in submodules):
            modified.append(name)
    return modified, staged, unmerged


def _listing(path: Path, *more: str) -> _Listing:
    """more: options of ``git ls-files``; without ``--modified``, nothing is known to be modified."""
    words = (*_ALL_NAMES, "ls-files", "-z", "-v", "--stage", "--cached", "--others", *more, "--exclude=/.venv/")
    answer = require(call(path, *words, timeout=LONGEST), f"list the files of {path}", code="status-failed")
    found = _Listing([], [], [], [], [])
    for line in answer.out.split(b"\0"):
        if line[2:8] == b"160000" and line[:1] not in (b"?", b"C"):
            found.gitlinks.append(os.fsdecode(line.partition(b"\t")[2]))
        if line[:1] in (b"H", b""):
            continue  # almost all: thousands that need not be decoded
        if line[:1] == b"?":
            name = os.fsdecode(line[2:])
            (found.nested if name.endswith("/") else found.untracked).append(name)
        elif line[:1] == b"C":
            facts, _, path_name = line.partition(b"\t")
            if facts.endswith(b" 0"):  # else it is in conflict, and listed once for each side
                found.modified.append(os.fsdecode(path_name))
        elif chr(line[0]).islower() or line[:1] == b"S":
            name = os.fsdecode(line.partition(b"\t")[2])
            if os.path.lexists(path / name):
                found.overlooked.append(name)
    if answer.error:  # git has warned of what it cannot open, and lists nothing of it
        found.untracked.extend(closed_folders(path))
    return found
