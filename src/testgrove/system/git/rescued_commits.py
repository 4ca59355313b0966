"""Commits that outlive their worktree under a ref of testgrove's, because no other ref holds them."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from testgrove.errors import PreconditionError, UnavailableError
from testgrove.system.git.call import call_common, require
from testgrove.system.git.history import Commit, tips

if TYPE_CHECKING:
    from collections.abc import Iterable

    from testgrove.system.git.repository import Repository

PREFIX = "refs/testgrove/rescued/"
_MOST = 1000  # refs of one worktree


class Rescued(NamedTuple):
    """A commit that was kept. id: the worktree's, with a number where it has several. when: None where git has
    forgotten it (``git reflog expire``)."""

    id: str
    commit: str
    subject: str
    when: datetime | None


def rescue(repository: Repository, worktree: str, commits: Iterable[Commit]) -> list[Rescued]:
    """Keep commits, and all that they lead to, under refs that are named after a worktree; one for each tip.

    Raises UnavailableError (``rescue-failed``) when git cannot.
    """
    made = []
    for commit in tips(commits):
        name = _keep(repository, worktree, commit.sha)
        made.append(Rescued(name, commit.sha, commit.subject, datetime.now(UTC)))
    return made


def _keep(repository: Repository, worktree: str, commit: str) -> str:
    nothing, answer = "0" * len(commit), None
    for number in range(1, _MOST):
        name = worktree if number == 1 else f"{worktree}-{number}"
        words = ("update-ref", "--create-reflog", "-m", f"testgrove: kept when {worktree} was removed")
        answer = call_common(repository.common_dir, *words, PREFIX + name, commit, nothing)
        if answer.status == 0:
            return name
        if not _at(repository, name):
            break  # it is not that the name is taken
    why = answer.last_line if answer else ""
    raise UnavailableError("rescue-failed", f"cannot keep commit {commit[:10]} of {worktree} under a ref: {why}")


def rescued(repository: Repository) -> list[Rescued]:
    """The commits that were kept, by their names."""
    form = "--format=%(refname)%00%(objectname)%00%(subject)"
    answer = require(call_common(repository.common_dir, "for-each-ref", form, PREFIX), "list the rescued commits")
    lines = [line.split("\0") for line in os.fsdecode(answer.out).splitlines()]
    times = _times(repository, [ref for ref, _, _ in lines])
    return [Rescued(ref.removeprefix(PREFIX), sha, subject, times.get(ref)) for ref, sha, subject in lines]


def _times(repository: Repository, refs: list[str]) -> dict[str, datetime]:
    """When each ref was made, by its reflog."""
    if not refs:
        return {}
    words = ("log", "--walk-reflogs", "--no-show-signature", "--date=unix", "--format=%gD", *refs, "--")
    found = {}
    for line in os.fsdecode(call_common(repository.common_dir, *words).out).splitlines():
        ref, _, time = line.removesuffix("}").partition("@{")
        if time.isdecimal():
            found[ref] = datetime.fromtimestamp(int(time), UTC)
    return found


def drop_rescued(repository: Repository, name: str) -> str:
    """Forget a kept commit; its object name. Raises PreconditionError (``no-such-commit``)."""
    commit = _at(repository, name)
    if not commit:
        names = ", ".join(each.id for each in rescued(repository)) or "none"
        raise PreconditionError(
            "no-such-commit", f"rescued commit '{name}' not found (available: {names})", hint="testgrove list --rescued"
        )
    words = ("update-ref", "--no-deref", "-d", PREFIX + name, commit)
    require(call_common(repository.common_dir, *words), f"drop {PREFIX}{name}")
    return commit


def _at(repository: Repository, name: str) -> str:
    answer = call_common(repository.common_dir, "rev-parse", "--verify", "--quiet", "--end-of-options", PREFIX + name)
    return answer.out.decode().strip() if answer.status == 0 else ""
