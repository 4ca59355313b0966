"""testgrove's checkouts: creating, filling, moving to another commit, removing.

git's worktree commands fail when several run at once, so they run under one lock, for about 10 ms; files
are checked out after it is released.
"""

from __future__ import annotations

import os
import re
import shlex
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from testgrove.errors import PreconditionError, UnavailableError
from testgrove.system import mounts
from testgrove.system.deletion import delete_tree
from testgrove.system.files import atomic_write, children, explain, explained, make_folder
from testgrove.system.git.call import LONGEST, RunCommand, call, call_common, raise_if_full, require, run_long
from testgrove.system.git.git_crypt import link_key
from testgrove.system.git.history import detached_at
from testgrove.system.git.repository import LOCK_REASON, Repository, checkouts, create_branch, git_dir_of, git_lock
from testgrove.system.git.submodules import update_submodules
from testgrove.system.processes import process

if TYPE_CHECKING:
    from collections.abc import Sequence

    from testgrove.system.locks import Lock, OnWait

_WORKERS = ("-c", "checkout.workers=4")  # half the time of one, also on two cores


def add_checkout(
    repository: Repository,
    path: Path,
    commit: str,
    *,
    branch: str | None = None,
    new_branch: str | None = None,
    on_wait: OnWait | None = None,
) -> bool:
    """Make an empty checkout at an absolute path, for populate() to fill; whether its HEAD is detached.

    branch: be on this local branch, unless it is checked out somewhere else or no longer at commit.
    new_branch: make this one at commit, and be on it. Raises PreconditionError (``path-exists``,
    ``checkout-exists``, ``branch-exists``, ``invalid-branch``) and UnavailableError.
    """
    with git_lock(repository, on_wait) as lock:
        if os.path.lexists(path) and not _is_empty(path):
            raise PreconditionError("path-exists", f"{path} already exists", hint=f"ls -la {shlex.quote(str(path))}")
        if checkout_records(repository, path):
            raise PreconditionError(
                "checkout-exists",
                f"git has a record of a checkout at {path}, which is missing",
                hint=f"git worktree remove -f -f {shlex.quote(str(path))}",
            )
        if new_branch:
            create_branch(repository, new_branch, commit)
            _add(repository, path, lock, new_branch)
            return False
        if branch and _is_free(repository, branch, commit):
            try:
                _add(repository, path, lock, branch)
            except UnavailableError:  # being rebased or bisected in another checkout, which git's list does not show
                _forget_half_made(repository, path)
            else:
                return False
        _add(repository, path, lock, commit, "--detach")
        return True


def _add(repository: Repository, path: Path, lock: Lock, start: str, *options: str) -> None:
    with explained("create the folder", path):
        make_folder(path)
    settings = ("-c", "worktree.guessRemote=false", "-c", "worktree.useRelativePaths=false")
    words = ("--quiet", "--no-checkout", "--lock", "--reason", LOCK_REASON, *options)
    # git inherits the lock: if testgrove is killed, other commands wait until git has finished its step.
    # From the current checkout: git copies its own settings (config.worktree, sparse patterns). With
    # `extensions.worktreeConfig` and a shared `core.bare`, a checkout without them is taken for a bare repository.
    answer = call(repository.toplevel, *settings, "worktree", "add", *words, "--", str(path), start, inherit=(lock.fd,))
    if answer.status != 0:
        raise_if_full(path)
    require(answer, f"make a checkout at {path}", code="checkout-failed")


def _is_free(repository: Repository, branch: str, commit: str) -> bool:
    if any(record.branch == branch for record in checkouts(repository)):
        return False
    answer = call_common(repository.common_dir, "rev-parse", "--verify", "--quiet", f"refs/heads/{branch}^{{commit}}")
    return answer.out.strip().decode() == commit


def populate(path: Path, commit: str, *, run: RunCommand = process.run) -> None:
    """Fill a checkout with a commit's files, submodules included; HEAD and its branch stay where they are.

    Raises UnavailableError (``checkout-failed``, ``submodules-failed``) and ExhaustedError (``disk-full``).
    """
    link_key(path)
    words = ("read-tree", "--reset", "-u", commit)
    try:
        run_long(run, path, "check out the files of", *_WORKERS, *words)
    except UnavailableError:
        raise_if_full(path, _size_of(path, commit))  # git has deleted the file that did not fit
        raise
    update_submodules(path, run)


def _size_of(path: Path, commit: str) -> int:
    """The bytes of all files of a commit."""
    answer = call(path, "ls-tree", "-r", "--format=%(objectsize)", commit, timeout=LONGEST)
    return sum(int(size) for size in answer.out.split() if size.isdigit())


def retarget(path: Path, commit: str, *, run: RunCommand = process.run) -> None:
    """Move a checkout to another commit, detached, as if it were new: only its ``.venv`` stays.

    HEAD's reflog is restarted, so that earlier checkouts do not count as the user's. The caller has checked that
    nothing there is the user's. Raises like populate(), and PreconditionError (``mounted-inside``): git would delete
    what is mounted in the checkout.
    """
    mounts.require_none(path, f"cannot recycle {path}")
    link_key(path)
    words = ("checkout", "--quiet", "--force", "--no-recurse-submodules", "--detach", commit)
    run_long(run, path, "check out another commit in", *_WORKERS, *words)
    update_submodules(path, run)
    mounts.require_none(path, f"cannot clean {path}")
    _help_clean(path)
    run_long(run, path, "clean", "clean", "-ffdxq", "-e", "/.venv")
    if (path / ".gitmodules").exists():
        each = ("submodule", "--quiet", "foreach", "--recursive")
        run_long(run, path, "clean the submodules of", *each, "git clean -ffdxq && git reflog expire --expire=all HEAD")
    _restart_reflog(path)


def _restart_reflog(path: Path) -> None:
    """Empty the reflog of a detached HEAD. Where refs are files, no process is started for it."""
    git_dir = git_dir_of(path)
    log = git_dir / "logs/HEAD"
    if detached_at(git_dir) is None or not log.is_file():
        require(call(path, "reflog", "expire", "--expire=all", "HEAD"), f"restart the reflog of {path}")
        return
    atomic_write(log, b"", stat.S_IMODE(log.stat().st_mode))


def _help_clean(path: Path) -> None:
    """Do what ``git clean`` does not: remove pipes and sockets, and open folders that tests made read-only."""
    todo, environment = [str(path)], f"{path}/.venv"
    with explained("clean", path):
        while todo:
            folder = todo.pop()
            if os.stat(folder).st_mode & stat.S_IRWXU != stat.S_IRWXU:  # noqa: PTH116 - str all along: thousands
                os.chmod(folder, stat.S_IRWXU)  # noqa: PTH101 - as above
            for entry in os.scandir(folder):
                if entry.is_file(follow_symlinks=False):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    if entry.name != ".git" and entry.path != environment:
                        todo.append(entry.path)
                elif not entry.is_symlink():
                    os.unlink(entry.path)  # noqa: PTH108 - as above


def detach(path: Path) -> None:
    """Take a checkout's HEAD off its branch, at the same commit; the index and the files stay as they are."""
    if detached_at(git_dir_of(path)) is not None:
        return
    require(call(path, "update-ref", "--no-deref", "HEAD", "HEAD"), f"detach the HEAD of {path}")


def repair_checkouts(repository: Repository, paths: Sequence[Path]) -> None:
    """Have checkouts point to this repository, which was moved away from where they point. Raises UnavailableError."""
    with git_lock(repository):
        answer = call_common(repository.common_dir, "worktree", "repair", "--", *map(str, paths))
    require(answer, f"repair the checkouts of {repository.main}")


def remove_checkout(repository: Repository, path: Path, on_wait: OnWait | None = None) -> None:
    """Remove git's record of a checkout, complete or not; the caller has moved its folder away.

    Does nothing if the record or the repository does not exist. Unlike ``git worktree prune``, it never touches other
    records. Raises PreconditionError (``checkout-in-place``) while the checkout still exists.
    """
    if not repository.common_dir.is_dir():
        return
    with git_lock(repository, on_wait) as lock:
        if not (records := checkout_records(repository, path)):
            return
        if os.path.lexists(path):
            if any(_points_to(path, record) for record in records):
                raise PreconditionError(
                    "checkout-in-place", f"{path} is still there", hint=f"git worktree remove {shlex.quote(str(path))}"
                )
            if _is_empty(path):
                path.rmdir()
        if not os.path.lexists(path):  # else git would inspect a foreign folder there
            words = ("worktree", "remove", "-f", "-f", "--", str(path))
            call_common(repository.common_dir, *words, timeout=LONGEST, inherit=(lock.fd,))
        _forget_half_made(repository, path)


def is_checkout(repository: Repository, path: Path) -> bool:
    """Return whether the folder at path is this repository's checkout: its ``.git`` file and git's record match.

    False for a clone or another folder that replaced a checkout.
    """
    return any(_points_to(path, record) for record in checkout_records(repository, path))


def _forget_half_made(repository: Repository, path: Path) -> None:
    """Remove the remaining records of a path, which git itself can no longer read."""
    with explained("remove git's record of", path):
        for record in checkout_records(repository, path):
            delete_tree(record, within=repository.common_dir)
        records = repository.common_dir / "worktrees"
        if records.is_dir() and not children(records):
            records.rmdir()


def checkout_records(repository: Repository, path: Path) -> list[Path]:
    """Return the folders in which git keeps a checkout's record: HEAD, index, reflog. They outlive the checkout.

    `git worktree add` creates the folder, then ``locked``, then ``gitdir``, which names the checkout: after an earlier
    kill, the folder is recognised by its name and by testgrove's lock, or by being empty.
    """
    named = re.compile(re.escape(re.sub(r"[^A-Za-z0-9._-]", "-", path.name)) + r"\d*")
    found = []
    for record in children(repository.common_dir / "worktrees"):
        gitdir = _first_line(record / "gitdir")
        if gitdir:
            if _same(Path(os.path.abspath(record / gitdir)).parent, path):  # noqa: PTH100 - the path itself may be gone
                found.append(record)
        elif named.fullmatch(record.name) and _is_half_made(record):
            found.append(record)
    return found


def checkout_paths(repository: Repository) -> list[Path]:
    """The folders of all checkouts, the main one first, as git's records have them: nothing is run."""
    found = children(repository.common_dir / "worktrees")
    lines = [(record, gitdir) for record in found if (gitdir := _first_line(record / "gitdir"))]
    return [repository.main, *(Path(os.path.abspath(record / gitdir)).parent for record, gitdir in lines)]  # noqa: PTH100 - links stay


def is_barely_made(record: Path) -> bool:
    """Return whether `git worktree add` was killed before anything could be committed or staged in this record's
    checkout.

    Its HEAD is of zeros before it is the commit.
    """
    if (record / "logs").exists() or (record / "index").exists():
        return False
    return not (_first_line(record / "HEAD").strip("0") and _first_line(record / "commondir"))


def _is_half_made(record: Path) -> bool:
    """Return whether a record without a path is testgrove's: its lock file is testgrove's, or the start of one."""
    reason = _first_line(record / "locked")
    barely = {file.name for file in children(record)} <= {"locked", "gitdir"}
    return reason == LOCK_REASON or (barely and LOCK_REASON.startswith(reason))


def _points_to(path: Path, record: Path) -> bool:
    return _same(path / (_first_line(path / ".git").removeprefix("gitdir: ") or "/"), record)


def _same(one: Path, other: Path) -> bool:
    return one.parent.resolve() / one.name == other.parent.resolve() / other.name


def _first_line(path: Path) -> str:
    """Return the text of one of git's small files; empty if it does not exist.

    An unreadable file raises an error: as a missing one, its worktree would count as deleted and its commits as
    unreferenced.
    """
    try:
        return os.fsdecode(path.read_bytes()).removesuffix("\n")
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return ""
    except OSError as error:
        raise explain("read", path, error) from error


def lock_reason(record: Path) -> str | None:
    """Why a checkout is locked (``git worktree lock --reason``); None where it is not."""
    return _first_line(record / "locked") if (record / "locked").exists() else None


def _is_empty(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink() and not children(path)
