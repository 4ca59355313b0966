"""The current repository, the meaning of a ref in it, and small facts about it."""

from __future__ import annotations

import os
import re
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from testgrove.core.frozen import frozen
from testgrove.core.lazy_pattern import lazy_pattern
from testgrove.errors import PreconditionError
from testgrove.system.files import atomic_write, explained
from testgrove.system.git.call import call, call_common, call_known, require, require_git
from testgrove.system.git.no_repository import no_commit, no_repository
from testgrove.system.locks import Lock, exclusive

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from testgrove.system.locks import Lock, OnWait

LOCK_REASON = "testgrove"
_SHA = lazy_pattern(rb"[0-9a-f]{40,64}")
# What a ref may not have in it: options, blanks and control characters, ranges, reflog selectors, paths,
# globs.
_HOSTILE = lazy_pattern(r"^-|[\s\x00-\x20\x7f:?*\[\\]|\.\.|@\{")


@frozen
class Repository:
    """common_dir: git's common directory, without links. toplevel: the checkout we stand in. main: the main one.
    commit, tree: what was checked out in it when it was discovered."""

    common_dir: Path
    toplevel: Path
    main: Path
    commit: str = field(default="", compare=False)
    tree: str = field(default="", compare=False)

    @property
    def lock(self) -> Path:
        """The file whose lock guards the list of checkouts and ``info/exclude``."""
        return self.common_dir / "testgrove.lock"


class Resolved(NamedTuple):
    """A resolved ref. branch: the local branch it names; remote: the remote branch (``origin/x``)."""

    commit: str
    branch: str | None = None
    remote: str | None = None


class CheckoutRecord(NamedTuple):
    """One line of git's list of checkouts. branch: None when HEAD is detached; locked: the reason, or
    None."""

    path: Path
    head: str
    branch: str | None = None
    locked: str | None = None
    prunable: bool = False
    bare: bool = False


def discover(directory: Path) -> Repository:
    """The repository that directory is in, by any path to it.

    Raises PreconditionError: ``no-git``, ``git-too-old``, ``no-directory``, ``no-repository``,
    ``bare-repository``, ``git-refused``, ``no-commit``.
    """
    try:
        directory = directory.absolute()
    except FileNotFoundError as error:
        hint = "cd to a folder that exists"
        raise PreconditionError("no-directory", "the current folder was deleted", hint=hint) from error
    if not directory.is_dir():
        require_git()
        raise PreconditionError("no-directory", f"{directory} is not a directory", hint=f"ls -ld {directory}")
    questions = ("--git-common-dir", "--absolute-git-dir", "--show-toplevel")
    ask = ("rev-parse", "--path-format=absolute")
    answer = call_known(directory, *ask, *questions, "--revs-only", "HEAD^{commit}", "HEAD^{tree}")
    if answer.status != 0:
        raise no_repository(directory, answer)
    lines = answer.out.removesuffix(b"\n").split(b"\n")
    names = [line.decode() for line in lines[-2:] if _SHA.fullmatch(line)]  # none on a branch without a commit
    lines = lines[: len(lines) - len(names)]
    if len(lines) != len(questions):  # a line break in a path
        lines = [call(directory, *ask, question).out.removesuffix(b"\n") for question in questions]
    common_dir, git_dir, toplevel = (Path(os.fsdecode(line)).resolve() for line in lines)
    if len(names) != 2:
        raise no_commit(toplevel, git_dir)
    main = toplevel if git_dir == common_dir else _main_checkout(common_dir, toplevel)
    return Repository(common_dir, toplevel, main, *names)


def git_dir_of(toplevel: Path) -> Path:
    """Return the folder of a checkout's own index: its ``.git``, or the folder that its .git file names."""
    dot_git = toplevel / ".git"
    if dot_git.is_dir():
        return dot_git
    with explained("read", dot_git):
        text = os.fsdecode(dot_git.read_bytes())
    return Path(os.path.abspath(toplevel / text.removeprefix("gitdir:").strip()))  # noqa: PTH100 - links stay


def _main_checkout(common_dir: Path, toplevel: Path) -> Path:
    """The main checkout, seen from another one."""
    settings: dict[str, str] = {}
    answer = call(common_dir, "config", "-z", "--get-regexp", r"^core\.(bare|worktree)$")
    for line in answer.fields():
        key, _, value = line.partition("\n")
        settings[key] = value
    if settings.get("core.bare") != "true":
        main = (common_dir / settings.get("core.worktree", "..")).resolve()
        if (main / ".git").exists():
            return main
    # The main one is bare: use the first of its checkouts that is not testgrove's.
    found = checkouts(Repository(common_dir=common_dir, toplevel=toplevel, main=toplevel))
    others = [r.path for r in found if not r.bare and not r.prunable and r.locked != LOCK_REASON]
    return others[0] if others else toplevel


def checkouts(repository: Repository) -> list[CheckoutRecord]:
    """The checkouts that git knows, the main one first."""
    answer = require(call_common(repository.common_dir, "worktree", "list", "--porcelain", "-z"), "list the checkouts")
    found = []
    for block in os.fsdecode(answer.out).split("\0\0"):
        facts = dict(line.partition(" ")[::2] for line in block.split("\0") if line)
        if "worktree" in facts:
            branch = facts["branch"].removeprefix("refs/heads/") if "branch" in facts else None
            path, head, locked = Path(facts["worktree"]), facts.get("HEAD", ""), facts.get("locked")
            found.append(CheckoutRecord(path, head, branch, locked, "prunable" in facts, "bare" in facts))
    return found


def resolve(repository: Repository, ref: str) -> Resolved:
    """Resolve a branch, a remote branch, a tag, a SHA or HEAD.

    A branch wins over a tag of its name, as in ``git switch``. A branch that only one remote has is found
    by its name alone. Raises PreconditionError (``unknown-ref``, ``ambiguous-ref``).
    """
    name = ref.removeprefix("refs/heads/")
    if not ref or _HOSTILE.search(ref):
        raise _unknown(repository, ref)
    patterns = (f"refs/heads/{name}", f"refs/remotes/{name}", f"refs/remotes/*/{name}")
    listed = require(
        call(repository.toplevel, "for-each-ref", "--format=%(objectname) %(refname)", *patterns),
        "read the refs",
    )
    refs = {full: sha for sha, _, full in (line.partition(" ") for line in os.fsdecode(listed.out).splitlines())}
    if commit := refs.get(f"refs/heads/{name}"):
        return Resolved(commit, branch=name)
    answer = call(repository.toplevel, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}")
    if answer.status == 0 and _SHA.fullmatch(answer.out.strip()):
        return Resolved(answer.out.strip().decode(), remote=name if f"refs/remotes/{name}" in refs else None)
    remotes = [full for full in refs if re.fullmatch(f"refs/remotes/[^/]+/{re.escape(name)}", full)]
    if len(remotes) > 1 and f"refs/remotes/origin/{name}" not in remotes:
        there = ", ".join(full.removeprefix("refs/remotes/") for full in remotes)
        raise PreconditionError("ambiguous-ref", f"'{name}' is ambiguous: several remotes have this branch: {there}",
                                hint="add the name of the remote")  # fmt: skip
    if remotes:
        chosen = f"refs/remotes/origin/{name}" if len(remotes) > 1 else remotes[0]
        return Resolved(refs[chosen], remote=chosen.removeprefix("refs/remotes/"))
    raise _unknown(repository, ref)


def _unknown(repository: Repository, ref: str) -> PreconditionError:
    import difflib  # noqa: PLC0415 - 5 ms that only a mistake costs

    listed = call(repository.toplevel, "for-each-ref", "--format=%(refname)", "refs/heads", "refs/remotes", "refs/tags")
    names = [full.split("/", 2)[2] for full in os.fsdecode(listed.out).splitlines()]
    near = difflib.get_close_matches(ref, names, 3, 0.6)
    hint = f"did you mean {' or '.join(near)}? `git branch -a` lists them" if near else "git branch -a"
    shown = ref if len(ref) <= 100 else ref[:97] + "..."
    return PreconditionError("unknown-ref", f"branch, tag or commit {shown!r} not found", hint=hint, ref=ref)


def tree_of(repository: Repository, commit: str) -> str:
    """The name of a commit's tree: equal for equal files."""
    answer = require(call(repository.toplevel, "rev-parse", "--verify", f"{commit}^{{tree}}"), f"read {commit}")
    return answer.out.strip().decode()


def tracked_at(repository: Repository, commit: str, names: Sequence[str]) -> list[str]:
    """Those of the names, of files or folders by their path from the top, that a commit has."""
    answer = call(repository.toplevel, "ls-tree", "-z", "--name-only", "--full-tree", commit, "--", *names)
    return require(answer, f"read {commit}").fields()


def listed_files(checkout: Path) -> list[str]:
    """A checkout's files that are not ignored, tracked or not, relative to it."""
    answer = call(checkout, "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--deduplicate")
    return require(answer, f"list the files of {checkout}").fields()


def git_lock(repository: Repository, on_wait: OnWait | None = None) -> AbstractContextManager[Lock]:
    """Hold the git lock: git's own commands on checkouts fail when several run at once."""
    return exclusive(repository.lock, what=f"the git lock of {repository.main}", on_wait=on_wait)


def exclude(repository: Repository, names: Sequence[str]) -> None:
    """Have git ignore names at the top of every checkout, by ``info/exclude``, where they are not there
    yet.

    A name that begins with "/" is a pattern as it stands. Raises PreconditionError when the file cannot be
    written.
    """
    path = (repository.common_dir / "info" / "exclude").resolve()
    lines = _exclude_lines(names)
    if not _missing(path, lines):
        return
    with explained("write", path), git_lock(repository):
        if missing := _missing(path, lines):
            path.parent.mkdir(exist_ok=True)
            there = path.read_bytes() if path.exists() else b""
            mode = path.stat().st_mode & 0o777 if path.exists() else 0o644
            if path.exists() and not os.access(path, os.W_OK):
                raise PermissionError(13, "Permission denied", str(path))
            if there and not there.endswith(b"\n"):
                there += b"\n"
            atomic_write(path, there + b"".join(line + b"\n" for line in missing), mode)


def unexclude(repository: Repository, names: Sequence[str]) -> bool:
    """Take the lines that exclude() has added for these names away again; whether there were any.

    Raises PreconditionError when the file cannot be written.
    """
    path = (repository.common_dir / "info" / "exclude").resolve()
    lines = _exclude_lines(names)
    with explained("write", path), git_lock(repository):
        there = path.read_bytes().splitlines(keepends=True) if path.exists() else []
        kept = [line for line in there if line.rstrip(b"\r\n") not in lines]
        if kept != there:
            atomic_write(path, b"".join(kept), path.stat().st_mode & 0o777)
        return kept != there


def _exclude_lines(names: Sequence[str]) -> list[bytes]:
    return [os.fsencode(name if name.startswith("/") else "/" + _escaped(name)) for name in names]


def _missing(path: Path, lines: list[bytes]) -> list[bytes]:
    try:
        there = set(path.read_bytes().splitlines())
    except FileNotFoundError:
        there = set()
    return [line for line in dict.fromkeys(lines) if line not in there]


def _escaped(name: str) -> str:
    return re.sub(r"([\\*?\[ ])", r"\\\1", name)


def create_branch(repository: Repository, name: str, commit: str) -> None:
    """Create a local branch. Raises PreconditionError if it exists or the name is impossible (``a`` with ``a/b``)."""
    bad = name.startswith("-") or name == "HEAD" or _HOSTILE.search(name)
    if bad or call_common(repository.common_dir, "check-ref-format", f"refs/heads/{name}").status != 0:
        raise PreconditionError("invalid-branch", f"invalid branch name {name!r}", hint="man git-check-ref-format")
    nothing = "0" * len(commit)
    answer = call_common(repository.common_dir, "update-ref", "--no-deref", f"refs/heads/{name}", commit, nothing)
    if answer.status != 0:
        there = f"branch '{name}' already exists" if has_branch(repository, name) else answer.last_line
        raise PreconditionError("branch-exists", f"cannot make the branch '{name}': {there}",
                                hint=f"git branch --list '{name}*'")  # fmt: skip


def has_branch(repository: Repository, name: str) -> bool:
    """Return whether a local branch of this name is there."""
    return call_common(repository.common_dir, "show-ref", "--verify", "--quiet", f"refs/heads/{name}").status == 0


def delete_branch_if_at(repository: Repository, branch: str, commit: str) -> bool:
    """Delete a local branch if it still is at commit and no checkout of the user's is on it; whether it is
    gone."""
    if not repository.common_dir.is_dir():
        return True
    full = f"refs/heads/{branch}"
    if not any(record.branch == branch and record.locked != LOCK_REASON for record in checkouts(repository)):
        call_common(repository.common_dir, "update-ref", "--no-deref", "-d", full, commit)
    return not has_branch(repository, branch)


def main_commits(repository: Repository) -> tuple[str, ...]:
    """The commits of the branch that others are merged into, as the remote ``origin`` has it and as it is here.

    It is the default branch of ``origin``, or ``main`` or ``master``. Raises PreconditionError (``no-main-branch``).
    """
    found = []
    for name in ("refs/remotes/origin/HEAD", "refs/heads/main", "refs/heads/master"):
        answer = call_common(repository.common_dir, "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")
        found += answer.out.decode().split()
    if not found:
        raise PreconditionError(
            "no-main-branch",
            "cannot tell what is merged: no main branch found (searched: origin's default branch, 'main', 'master')",
            hint="git remote set-head origin --auto",
        )
    return tuple(dict.fromkeys(found))
