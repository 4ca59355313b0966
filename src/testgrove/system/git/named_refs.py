"""Refs that people mean without naming them: the branch before, the default branch, a pull request."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from testgrove.errors import PreconditionError, UnavailableError
from testgrove.system.git.call import call, call_common

if TYPE_CHECKING:
    from testgrove.system.git.repository import Repository

_PULL_REQUEST = re.compile(r"pr/([1-9][0-9]{0,9})")
_FETCH_SECONDS = 300.0
_PULL_REFS = ("refs/pull/{}/head", "refs/merge-requests/{}/head")  # GitHub and Gitea, GitLab


def previous_branch(repository: Repository) -> str:
    """The branch that was checked out before, as ``git switch -`` takes it. Raises PreconditionError."""
    answer = call(repository.toplevel, "rev-parse", "--abbrev-ref", "@{-1}")
    name = os.fsdecode(answer.out.strip())
    if answer.status != 0 or name in ("", "@{-1}"):
        raise PreconditionError(
            "no-previous-branch", "no branch was checked out here before this one", hint="git branch -a"
        )
    return name


def default_branch(repository: Repository) -> str | None:
    """The branch that work starts from: the local one of origin's default branch, else that one, ``main`` or
    ``master``."""
    head = call_common(repository.common_dir, "symbolic-ref", "--quiet", "--short", "refs/remotes/origin/HEAD")
    remote = os.fsdecode(head.out.strip())
    for name in (remote.partition("/")[2], remote, "main", "master"):
        if name and call_common(repository.common_dir, "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}").out:
            return name
    return None


def all_names(repository: Repository) -> list[str]:
    """The short names of all branches, remote branches and tags."""
    answer = call_common(
        repository.common_dir, "for-each-ref", "--format=%(refname)", "refs/heads", "refs/remotes", "refs/tags"
    )
    names = [full.split("/", 2)[2] for full in os.fsdecode(answer.out).splitlines()]
    return [name for name in names if not name.endswith("/HEAD")]


def is_branch_name(repository: Repository, name: str) -> bool:
    """Return whether git accepts a branch of this name."""
    return call_common(repository.common_dir, "check-ref-format", "--branch", name).status == 0


def pull_request_number(name: str) -> int | None:
    """The number in ``pr/12``."""
    found = _PULL_REQUEST.fullmatch(name)
    return int(found[1]) if found else None


def fetch_pull_request(repository: Repository, number: int) -> str:
    """Fetch the head of a pull request (GitHub, Gitea) or merge request (GitLab) from origin, or from the only remote;
    its commit.

    Raises PreconditionError without such a remote, UnavailableError when it cannot be had.
    """
    remotes = os.fsdecode(call_common(repository.common_dir, "remote").out).split()
    remote = "origin" if "origin" in remotes else remotes[0] if len(remotes) == 1 else None
    if remote is None:
        raise PreconditionError(
            "no-remote",
            f"cannot fetch pull request {number}: there is no remote 'origin'",
            hint="git remote add origin URL",
        )
    reason = ""
    for pattern in _PULL_REFS:
        ref = pattern.format(number)
        answer = call(repository.toplevel, "ls-remote", remote, ref, timeout=_FETCH_SECONDS)
        commit = os.fsdecode(answer.out).partition("\t")[0]
        if answer.status == 0 and commit:
            _fetch(repository, remote, ref)
            return commit
        reason = answer.last_line if answer.status != 0 else f"{remote} has none of this number"
    raise UnavailableError(
        "pull-request-missing", f"cannot fetch pull request {number}: {reason}", hint=f"git ls-remote {remote}"
    )


def _fetch(repository: Repository, remote: str, ref: str) -> None:
    words = ("fetch", "--quiet", "--no-tags", "--no-write-fetch-head", remote, ref)
    answer = call(repository.toplevel, *words, timeout=_FETCH_SECONDS)
    if answer.status != 0:
        raise UnavailableError(
            "fetch-failed", f"cannot fetch {ref} from {remote}: {answer.last_line}", hint=f"git fetch {remote} {ref}"
        )
