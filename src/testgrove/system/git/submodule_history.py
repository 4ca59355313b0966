"""Commits and files in the submodules of a linked worktree that are nowhere else.

git keeps their repositories in the worktree's record (``.git/worktrees/<id>/modules``, at any depth), or in a ``.git``
folder in the files; those in the record outlive ``git submodule deinit``. All of them go with the worktree.
"""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from testgrove.system.files import children, explained
from testgrove.system.git.call import require
from testgrove.system.git.history import Commit, ask, operation, staged_files, unheld
from testgrove.system.git.repository import git_dir_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from testgrove.system.git.repository import Repository

_SHOWN = 3
_OWN_REFS = ("--exclude=refs/remotes/*", "--exclude=refs/tags/*", "--exclude=refs/stash", "--all")


class Module(NamedTuple):
    """A submodule's repository. name: its path in the checkout, or git's name where it is not checked out. copies: the
    git directories of the same submodule in the main checkout."""

    name: str
    git_dir: Path
    checked_out: bool
    copies: tuple[Path, ...]


def unpublished_in_submodules(
    repository: Repository, record: Path, tree: Path, submodules: Collection[str], own: Collection[str]
) -> list[str]:
    """List lines that name each submodule and what only it has: commits, stashes, staged files, operations.

    "Only" means: in no remote-tracking ref of it, in no copy in the main checkout, and not pinned by a commit that
    testgrove checked out. record: the worktree's git directory. tree: its folder, which may be missing. submodules:
    those that are checked out. own: the commits that testgrove checked out. Raises UnavailableError when git fails.
    """
    modules = list(_modules(repository, record, tree, submodules))
    pins = _Pins(record, own, [module.git_dir for module in modules])
    return [
        f"submodule {module.name}{'' if module.checked_out else ' (not checked out)'}: {line}"
        for module in modules
        for line in unpublished(module.git_dir, copies=module.copies, pins=pins, index=not module.checked_out)
    ]


def unpublished(
    git_dir: Path, *, copies: Iterable[Path] = (), pins: _Pins | None = None, index: bool = True
) -> list[str]:
    """Return lines with what a repository has and its remotes and copies do not. index: include staged files."""
    stashes = _stashes(git_dir)
    found = [commit for commit in _local_commits(git_dir) if commit.sha not in stashes.commits]
    if found and pins is not None:
        found = _without(found, git_dir, pins.names)
    for copy in copies:
        found = _not_in(copy, found) if found else []
    lines = [f"commit {commit.sha[:10]} {commit.subject} (in no remote)" for commit in found[:_SHOWN]]
    lines += [f"{len(found) - _SHOWN} more commits"] if len(found) > _SHOWN else []
    lines += [f"stash: {subject}" for subject in stashes.subjects]
    lines += [f"{name} (staged)" for name in staged_files(git_dir)] if index else []
    lines += [f"a linked worktree at {path}" for path in _linked_worktrees(git_dir)]
    return lines + ([f"{unfinished} that is not finished"] if (unfinished := operation(git_dir)) else [])


def _linked_worktrees(git_dir: Path) -> Iterator[str]:
    """The folders of a repository's linked worktrees. They are useless without it, wherever they are."""
    for record in children(git_dir / "worktrees"):
        with explained("read", record):
            gitdir = os.fsdecode((record / "gitdir").read_bytes()).strip()
        yield str(Path(os.path.abspath(record / gitdir)).parent)  # noqa: PTH100 - it may be relative, and links stay


def _modules(repository: Repository, record: Path, tree: Path, submodules: Collection[str]) -> Iterator[Module]:
    seen = set()
    for name in submodules:
        git_dir = git_dir_of(tree / name)
        seen.add(git_dir.resolve())
        main = repository.main / name
        copies = [git_dir_of(main)] if (main / ".git").exists() else []
        stored = _stored_copy(repository, record, git_dir)
        yield Module(name, git_dir, checked_out=True, copies=(*copies, *stored))
    for git_dir in _absorbed(record / "modules"):
        if git_dir.resolve() not in seen:
            name = str(git_dir.relative_to(record / "modules")).replace("/modules/", "/")
            yield Module(name, git_dir, checked_out=False, copies=_stored_copy(repository, record, git_dir))


def _stored_copy(repository: Repository, record: Path, git_dir: Path) -> tuple[Path, ...]:
    """The same submodule's repository in the main checkout's git directory."""
    git_dir, record = git_dir.resolve(), record.resolve()
    if not git_dir.is_relative_to(record):
        return ()
    copy = repository.common_dir / git_dir.relative_to(record)
    return (copy,) if (copy / "HEAD").exists() else ()


def _absorbed(folder: Path) -> Iterator[Path]:
    """The git directories below a ``modules`` folder, at any depth; a submodule's name can have slashes."""
    for path in children(folder):
        if (path / "HEAD").exists() and (path / "objects").is_dir():
            yield path
            yield from _absorbed(path / "modules")
        elif path.is_dir() and not path.is_symlink():
            yield from _absorbed(path)


def _local_commits(git_dir: Path) -> list[Commit]:
    """Commits of HEAD, branches, other refs and their reflogs that no remote-tracking ref leads to."""
    listed = require(ask(git_dir, "for-each-ref", "--format=%(refname)"), f"read the refs of {git_dir}").out
    names = [os.fsdecode(line) for line in listed.splitlines()]
    own = [name for name in names if not name.startswith(("refs/remotes/", "refs/tags/", "refs/stash"))]
    head = ["HEAD"] if ask(git_dir, "rev-parse", "--verify", "--quiet", "HEAD").status == 0 else []
    walked: list[str] = []
    if head or own:
        answer = ask(git_dir, "rev-list", "--walk-reflogs", *head, *own, "--")
        walked = require(answer, f"read the reflogs of {git_dir}").out.decode().split()
    return unheld(git_dir, walked, [*_OWN_REFS, "--not", "--remotes"])


class _Stashes(NamedTuple):
    """commits: those that stashes consist of. subjects: what each stash is called."""

    commits: frozenset[str]
    subjects: tuple[str, ...]


def _stashes(git_dir: Path) -> _Stashes:
    if ask(git_dir, "rev-parse", "--verify", "--quiet", "refs/stash").status != 0:
        return _Stashes(frozenset(), ())
    words = ("log", "--walk-reflogs", "--no-show-signature", "--format=%H %P%x00%gs%x00", "refs/stash", "--")
    answer = require(ask(git_dir, *words), f"read the stashes of {git_dir}")
    fields = os.fsdecode(answer.out).split("\0")
    commits: set[str] = set()
    for names in fields[::2]:
        stash, *parents = names.split() or [""]
        commits.update((stash, *parents[1:]))  # the first parent is what was checked out
    return _Stashes(frozenset(commits), tuple(fields[1::2]))


def _not_in(copy: Path, commits: list[Commit]) -> list[Commit]:
    """Those that no ref and no reflog of another repository holds."""
    there = _present(copy, [commit.sha for commit in commits])
    names = "".join(f"{name}\n" for name in there).encode()
    words = ("rev-list", "--stdin", "--not", "--all", "--reflog")
    answer = require(ask(copy, *words, stdin=names), f"read the commits of {copy}").out.decode().split()
    held = {*there}.difference(answer)
    return [commit for commit in commits if commit.sha not in held]


def _without(commits: list[Commit], git_dir: Path, pins: Collection[str]) -> list[Commit]:
    """Those that the pinned commits do not lead to."""
    names = "".join(f"{commit.sha}\n" for commit in commits) + "".join(f"^{pin}\n" for pin in _present(git_dir, pins))
    answer = require(ask(git_dir, "rev-list", "--stdin", stdin=names.encode()), f"read the commits of {git_dir}")
    left = {*answer.out.decode().split()}
    return [commit for commit in commits if commit.sha in left]


def _present(git_dir: Path, commits: Collection[str]) -> list[str]:
    """Those that a repository has; rev-list would refuse the others."""
    if not commits:
        return []
    question = "".join(f"{commit}^{{commit}}\n" for commit in commits).encode()
    answer = require(ask(git_dir, "cat-file", "--batch-check", stdin=question), f"read {git_dir}")
    lines = zip(commits, answer.out.splitlines(), strict=False)
    return [commit for commit, line in lines if b" commit " in line]


class _Pins:
    """The submodule commits that the commits which testgrove checked out name, at any depth."""

    def __init__(self, record: Path, own: Collection[str], modules: Collection[Path]) -> None:
        self._record, self._own, self._modules = record, own, modules

    @cached_property
    def names(self) -> set[str]:
        """Their object names. Looked up once, and only where something is not published."""
        found = new = _pinned(self._record, self._own)
        while new:
            new = {pin for module in self._modules for pin in _pinned(module, _present(module, new))} - found
            found = found | new
        return found


def _pinned(git_dir: Path, commits: Collection[str]) -> set[str]:
    found: set[str] = set()
    for commit in _present(git_dir, commits):
        answer = ask(git_dir, "ls-tree", "-r", "-z", "--full-tree", commit)
        lines = require(answer, f"read {commit}").out.split(b"\0")
        found.update(line.split()[2].decode() for line in lines if line.startswith(b"160000 "))
    return found
