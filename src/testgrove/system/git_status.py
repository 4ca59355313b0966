"""What in a checkout differs from what git has: files, and commits that nothing else holds."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from testgrove.system.closed_folders import closed_folders
from testgrove.system.git_call import LONGEST, call, require
from testgrove.system.git_repository import git_dir_of
from testgrove.system.git_submodules import checked_out_submodules

if TYPE_CHECKING:
    from collections.abc import Collection

_OPERATIONS = {
    "rebase-merge": "a rebase",
    "rebase-apply": "a rebase",
    "MERGE_HEAD": "a merge",
    "CHERRY_PICK_HEAD": "a cherry-pick",
    "REVERT_HEAD": "a revert",
    "BISECT_LOG": "a bisection",
}


class CheckoutStatus(NamedTuple):
    """Paths relative to the checkout. modified: differ from the index, deleted ones included; staged: the
    index differs from HEAD; unmerged: in conflict. untracked: ignored ones included, all but the top
    ``.venv``; nested: repositories in it, ending in "/". operation: what git is in the middle of (``a
    rebase``), or empty."""

    modified: tuple[str, ...] = ()
    staged: tuple[str, ...] = ()
    unmerged: tuple[str, ...] = ()
    untracked: tuple[str, ...] = ()
    nested: tuple[str, ...] = ()
    operation: str = ""


class Commit(NamedTuple):
    sha: str
    subject: str


def status(path: Path) -> CheckoutStatus:
    """Look at a checkout. Raises UnavailableError when git cannot."""
    submodules = checked_out_submodules(path)
    modified, staged, unmerged = _tracked(path, submodules)
    untracked, nested = _others(path, modified)
    for submodule in submodules:
        inner_files, inner_nested = _others(path / submodule, [])
        untracked += [f"{submodule}/{name}" for name in inner_files]
        nested += [f"{submodule}/{name}" for name in inner_nested]
    return CheckoutStatus(
        tuple(modified), tuple(staged), tuple(unmerged), tuple(untracked), tuple(nested), _operation(path)
    )


def _tracked(path: Path, submodules: Collection[str]) -> tuple[list[str], list[str], list[str]]:
    words = (
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


def _others(path: Path, modified: list[str]) -> tuple[list[str], list[str]]:
    """Untracked and ignored files, and nested repositories. Files that git was told to overlook
    (``update-index --assume-unchanged``, ``--skip-worktree``) and that are there are added to modified:
    nobody looks at them."""
    words = ("ls-files", "-z", "-v", "--cached", "--others", "--exclude=/.venv")
    answer = require(call(path, *words, timeout=LONGEST), f"list the files of {path}", code="status-failed")
    untracked: list[str] = []
    nested: list[str] = []
    for line in answer.out.split(b"\0"):
        if line[:1] in (b"H", b""):
            continue  # almost all: thousands that need not be decoded
        tag, name = chr(line[0]), os.fsdecode(line[2:])
        if tag == "?":
            (nested if name.endswith("/") else untracked).append(name)
        elif (tag.islower() or tag == "S") and os.path.lexists(path / name) and name not in modified:
            modified.append(name)
    if answer.error:  # git has warned of what it cannot open, and lists nothing of it
        untracked += closed_folders(path)
    return untracked, nested


def _operation(path: Path) -> str:
    git_dir = git_dir_of(path)
    return next((what for name, what in _OPERATIONS.items() if (git_dir / name).exists()), "")


def foreign_commits(path: Path, own: Collection[str] = ()) -> list[Commit]:
    """Commits that would be lost with a checkout, the newest first.

    They can be reached from its HEAD, or from where its HEAD was (its reflog), and neither from a ref nor
    from own: the commits that testgrove itself checked out there. Raises UnavailableError when git cannot
    tell.
    """
    walked = (
        require(call(path, "rev-list", "--walk-reflogs", "HEAD"), f"read the reflog of {path}").out.decode().split()
    )
    if {_detached_head(path), *walked} <= {*own}:
        return []  # as testgrove left it
    start = dict.fromkeys(["HEAD", *walked, *(f"^{commit}" for commit in _present(path, own))])
    words = ("rev-list", "--stdin", "--no-commit-header", "--format=%H%x00%s%x00", "--not")
    gone = ("--exclude=refs/bisect/*", "--exclude=refs/worktree/*", "--exclude=refs/rewritten/*")  # with it
    lines = "".join(f"{word}\n" for word in start).encode()
    answer = require(
        call(path, *words, *gone, "--glob=refs/*", stdin=lines, timeout=LONGEST),
        f"read the commits of {path}",
    )
    fields = os.fsdecode(answer.out).split("\0")
    return [Commit(sha.strip(), subject) for sha, subject in zip(fields[::2], fields[1::2], strict=False)]


def _detached_head(path: Path) -> str:
    """The commit that HEAD is at; empty when it is on a branch."""
    try:
        text = (git_dir_of(path) / "HEAD").read_text(errors="replace").strip()
    except OSError:
        return ""
    return "" if text.startswith("ref:") else text


def _present(path: Path, commits: Collection[str]) -> list[str]:
    """Those that still are in the repository; rev-list would refuse the others."""
    if not commits:
        return []
    question = "".join(f"{commit}^{{commit}}\n" for commit in commits).encode()
    answer = require(call(path, "cat-file", "--batch-check", stdin=question), f"read {path}")
    lines = zip(commits, answer.out.splitlines(), strict=False)
    return [commit for commit, line in lines if b" commit " in line]
