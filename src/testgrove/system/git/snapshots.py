"""The current working tree as a commit outside all branches."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from testgrove.errors import PreconditionError
from testgrove.system.files import explained
from testgrove.system.git.call import LONGEST, Answer, call, require
from testgrove.system.git.repository import git_dir_of
from testgrove.system.locks import exclusive

if TYPE_CHECKING:
    from testgrove.system.git.repository import Repository
    from testgrove.system.locks import OnWait

_TRIES = 3
_EMAIL, _SUBJECT = "testgrove@localhost", "testgrove: snapshot"
_IDENTITY = {
    f"GIT_{role}_{what}": value
    for role in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "testgrove"), ("EMAIL", _EMAIL))
}


class Snapshot(NamedTuple):
    """modified, untracked: number of files that differ from HEAD. nested: paths that are not in the commit: nested
    repositories, and submodules with changes."""

    commit: str
    tree: str
    modified: int = 0
    untracked: int = 0
    nested: tuple[str, ...] = ()


class _Changes(NamedTuple):
    head: str
    modified: int
    untracked: int
    nested: tuple[str, ...]
    submodules: tuple[str, ...]


def snapshot(repository: Repository, on_wait: OnWait | None = None) -> Snapshot:
    """Commit the working tree: tracked changes, deletions, and untracked files that are not ignored.

    The user's index, refs and files stay as they are. The same tree gives the same commit; one that equals
    HEAD's gives HEAD. Raises PreconditionError (``snapshot-failed``) for a file that cannot be read.
    """
    git_dir = git_dir_of(repository.toplevel)
    # One file that the next snapshot overwrites: nothing piles up when we are killed.
    index = git_dir / "testgrove-index"
    with (
        explained("take a snapshot next to", git_dir),
        exclusive(git_dir / "testgrove-index.guard", what="another snapshot of this tree", on_wait=on_wait),
    ):
        try:
            return _take(repository, git_dir / "index", index)
        finally:
            index.unlink(missing_ok=True)
            _lock_of(index).unlink(missing_ok=True)  # of a git that was killed


def is_snapshot(committer: str, subject: str) -> bool:
    """Return whether a commit of this committer (an e-mail address) and subject was made by snapshot()."""
    return (committer, subject) == (_EMAIL, _SUBJECT)


def base_of(where: Path, commit: str) -> str:
    """The commit that a snapshot was taken on; of any other commit, itself."""
    words = ("rev-list", "--max-count=1", "--no-commit-header", "--format=%P%n%ce%n%s", commit)
    lines = require(call(where, *words), f"read {commit}").out.decode(errors="replace").split("\n")
    parents, email, subject = lines[:3]
    return parents if is_snapshot(email, subject) and parents and " " not in parents else commit


def _lock_of(index: Path) -> Path:
    return index.with_name(index.name + ".lock")


def _take(repository: Repository, users: Path, index: Path) -> Snapshot:
    toplevel = repository.toplevel
    env = {"GIT_INDEX_FILE": str(index), "GIT_OPTIONAL_LOCKS": "1"}
    answer = Answer(1, b"", "")
    for _ in range(_TRIES):  # a file that changes while git reads it makes `git add` fail
        _lock_of(index).unlink(missing_ok=True)
        if users.exists():
            # With its times: git compares files' times with the index's own to see what changed right after
            # it.
            shutil.copy2(users, index)
        changes = _changes(toplevel, env)
        if not changes.modified and not changes.untracked:
            left_out = changes.nested + changes.submodules
            known = changes.head == repository.commit
            tree = repository.tree if known else _facts(toplevel, changes.head)[0]
            return Snapshot(changes.head, tree, nested=left_out)
        answer = _add(toplevel, env, changes.nested)
        if answer.status == 0:
            return _commit(toplevel, env, changes)
    hint = "make the file readable, ignore it, or test a commit: --ref HEAD"
    message = f"cannot read the whole working tree: {answer.last_line}"
    raise PreconditionError("snapshot-failed", message, hint=hint)


def _add(toplevel: Path, env: dict[str, str], nested: tuple[str, ...]) -> Answer:
    """Add everything but nested repositories, of which git would keep a name and no file, or fail."""
    words, paths = ["add", "--all", "--sparse"], None
    if nested:
        words += ["--pathspec-from-file=-", "--pathspec-file-nul"]
        paths = b"".join(b":(top,exclude,literal)%s\0" % os.fsencode(path.rstrip("/")) for path in nested)
    return call(toplevel, *words, stdin=paths, env=env, timeout=LONGEST)


def _commit(toplevel: Path, env: dict[str, str], changes: _Changes) -> Snapshot:
    tree = require(call(toplevel, "write-tree", env=env), "write the snapshot").out.strip().decode()
    heads_tree, time = _facts(toplevel, changes.head)
    counts = (changes.modified, changes.untracked, changes.nested + changes.submodules)
    if tree == heads_tree:
        return Snapshot(changes.head, tree, *counts)
    dates = {"GIT_AUTHOR_DATE": f"@{time} +0000", "GIT_COMMITTER_DATE": f"@{time} +0000"}
    words = (
        "-c",
        "i18n.commitEncoding=UTF-8",
        "commit-tree",
        tree,
        "-p",
        changes.head,
        "-m",
        _SUBJECT,
    )
    made = require(call(toplevel, *words, env=env | _IDENTITY | dates), "write the snapshot")
    return Snapshot(made.out.strip().decode(), tree, *counts)


def _facts(toplevel: Path, commit: str) -> tuple[str, str]:
    """A commit's tree, and its committer's time in seconds."""
    words = ("rev-list", "--max-count=1", "--no-commit-header", "--format=%T %ct", commit)
    tree, _, time = require(call(toplevel, *words), f"read {commit}").out.decode().strip().partition(" ")
    return tree, time


def _changes(toplevel: Path, env: dict[str, str]) -> _Changes:
    words = ("status", "--porcelain=v2", "-z", "--branch", "--untracked-files=all", "--no-renames",
             "--ignore-submodules=none")  # fmt: skip
    answer = require(call(toplevel, *words, env=env, timeout=LONGEST), f"read the status of {toplevel}")
    head, modified, untracked = "", 0, 0
    nested, submodules = [], []
    for line in answer.fields():
        kind, rest = line[0], line[2:]
        if line.startswith("# branch.oid "):
            head = line[13:]
        elif kind == "?" and rest.endswith("/"):
            nested.append(rest)
        elif kind == "?":
            untracked += 1
        elif kind in "12u":
            modified += 1
            fields = rest.split(" ", 7 if kind == "1" else 9)
            if fields[1][0] == "S" and fields[1][2:] != "..":
                submodules.append(fields[-1])
    return _Changes(head, modified, untracked, tuple(nested), tuple(submodules))
