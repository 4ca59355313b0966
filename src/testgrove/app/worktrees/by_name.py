"""`create NAME`: what a name means to the person who types it."""

from __future__ import annotations

import re
from shlex import quote
from typing import TYPE_CHECKING

from testgrove.core.worktrees.naming import NamedRef, identifier_for
from testgrove.errors import PreconditionError, UsageError
from testgrove.system import git

if TYPE_CHECKING:
    from testgrove.app.project import Project

_SHORTEST = 4  # digits of a SHA, for git
_NEAR = 0.9  # difflib's ratio: one slip in ten letters


def meaning_of(project: Project, name: str, *, new: bool = False, base: str | None = None) -> NamedRef:
    """An existing ref, a pull request, or a new branch, which starts at base or at the default branch.

    new: make a branch of this name, however much it looks like another. Raises PreconditionError for a name that is
    nearly an existing one or that no branch can have, UsageError for a base where no branch is created, and
    UnavailableError for a pull request that cannot be fetched.
    """
    repository = project.repository
    if new:
        return _new_branch(repository, name, base)
    if name == "-":
        name = git.previous_branch(repository)
    try:
        resolved = git.resolve(repository, name)
    except PreconditionError as error:
        if error.code != "unknown-ref":
            raise
    else:
        _refuse_base(name, base)
        return _existing(name, resolved)
    number = git.pull_request_number(name)
    if number is not None:
        _refuse_base(name, base)
        return _pull_request(repository, name, number, offline=project.offline)
    _refuse_near_match(repository, name)
    return _new_branch(repository, name, base)


def _refuse_base(name: str, base: str | None) -> None:
    if base is not None:
        raise UsageError(
            "base-unused", f"--base {base}: '{name}' already exists", hint="remove --base, or choose a new name"
        )


def _existing(name: str, resolved: git.Resolved) -> NamedRef:
    """A branch that only a remote has becomes a local one, as ``git switch`` does it."""
    if resolved.remote == name or resolved.remote is None:
        number = git.pull_request_number(name)
        update = f"git fetch origin pull/{number}/head:{name}"
        note = f"branch {name} exists here; to update it first: {update}" if number else ""
        return NamedRef(name, identifier_for(_short(name, resolved)), note=note)
    note = f"new branch {name} from {resolved.remote}"
    return NamedRef(resolved.remote, identifier_for(name), new_branch=name, note=note)


def _short(name: str, resolved: git.Resolved) -> str:
    """A remote branch and a full ref by the name of their branch, HEAD and a whole SHA by ten digits."""
    if resolved.remote is not None:
        return resolved.remote.partition("/")[2]
    if resolved.branch is not None:
        return resolved.branch
    if name in ("HEAD", "@") or (len(name) >= _SHORTEST and resolved.commit.startswith(name.lower())):
        return resolved.commit[:10]
    return name.removeprefix("refs/tags/")


def _pull_request(repository: git.Repository, name: str, number: int, *, offline: bool) -> NamedRef:
    if offline:
        raise PreconditionError(
            "offline-fetch",
            f"cannot fetch pull request {number} with --offline",
            hint=f"git fetch origin pull/{number}/head:{name}",
        )
    commit = git.fetch_pull_request(repository, number)
    note = f"new branch {name}: pull request {number} at {commit[:10]}"
    return NamedRef(commit, identifier_for(name), new_branch=name, note=note)


def _refuse_near_match(repository: git.Repository, name: str) -> None:
    near = _near(name, git.all_names(repository))
    if near is not None:
        raise PreconditionError(
            "near-match",
            f"'{name}' does not exist, but '{near}' does",
            hint=f"testgrove create {quote(near)}, or for a new branch: testgrove create {quote(name)} --new-branch",
        )


def _near(name: str, known: list[str]) -> str | None:
    """A ref that differs by case or by a slip of a finger. Other digits are another name: `fix-12`, `fix-13`."""
    import difflib  # noqa: PLC0415 - only for a name that git does not know

    short = dict.fromkeys([*known, *(each.partition("/")[2] for each in known if "/" in each)])
    for each in difflib.get_close_matches(name.lower(), {each.lower(): each for each in short}, 3, _NEAR):
        if re.findall(r"\d+", each) == re.findall(r"\d+", name):
            return next(one for one in short if one.lower() == each)
    return None


def _new_branch(repository: git.Repository, name: str, base: str | None) -> NamedRef:
    if not git.is_branch_name(repository, name):
        raise PreconditionError(
            "invalid-branch",
            f"{name!r} is no branch, tag or commit, and cannot be the name of a new branch",
            hint="use letters, digits, '-', '_', '.' and '/'; all rules: git check-ref-format --help",
        )
    start = (git.default_branch(repository) or "HEAD") if base is None else base
    return NamedRef(start, identifier_for(name), new_branch=name, note=f"new branch {name} from {start}")
