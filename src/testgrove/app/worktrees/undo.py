"""Undo: removes what a lease names, then the lease. Idempotent, in reverse order, only testgrove's resources."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path

from testgrove.app.holder import Holder
from testgrove.app.left_databases import remember_left
from testgrove.app.worktrees.hooks import run_teardown
from testgrove.core.engines.registry import implementation_of
from testgrove.core.model import Lease, LeaseKind
from testgrove.errors import ExhaustedError, PreconditionError, TestgroveError
from testgrove.system import git, mounts
from testgrove.system.deletion import TRASH, delete_trash, delete_tree, move_to_trash, remove_empty, trash_location
from testgrove.system.files import explained
from testgrove.system.processes.marks import Mark, end_marked
from testgrove.system.store import StoredLeases
from testgrove.system.trusted_paths import owner_of


def undo(holder: Holder, leases: StoredLeases, *kinds: LeaseKind) -> list[str]:
    """Undo an owner's leases, the newest first; all of them, or those of some kinds.

    Returns what was kept, and why, for the user.
    An external server that does not answer, and trash that cannot be deleted, do not stop the rest: the error is raised
    at the end.
    """
    failure: TestgroveError | None = None
    notes: list[str] = []
    for lease in reversed(leases.all()):
        if kinds and lease.kind not in kinds:
            continue
        try:
            notes += filter(None, [_undo_one(holder, leases, lease)])
        except TestgroveError as error:
            if lease.kind not in (LeaseKind.DATABASE, LeaseKind.TRASH):
                raise
            failure = error
    if failure is not None:
        raise failure
    return notes


def undo_leases(holder: Holder, leases: StoredLeases, chosen: Sequence[Lease]) -> None:
    """Undo some of an owner's leases, the newest first."""
    for lease in reversed(chosen):
        _undo_one(holder, leases, lease)


def _undo_one(holder: Holder, leases: StoredLeases, lease: Lease) -> str:  # noqa: C901 - one case for each kind
    """Return what was kept, and why; empty if it was removed."""
    note = ""
    match lease.kind:
        case LeaseKind.PORTS:
            pass  # no process of testgrove listens: processes are undone before ports
        case LeaseKind.PROCESSES:
            end_marked(Mark.parse(lease.key))
        case LeaseKind.TEARDOWN:
            _undo_setup(holder, lease)
        case LeaseKind.BRANCH:
            _undo_branch(lease)
        case LeaseKind.CHECKOUT:
            _undo_checkout(holder, lease)
        case LeaseKind.DIRECTORY:
            _undo_directory(Path(lease.key))
        case LeaseKind.TRASH:
            delete_trash(Path(lease.key))
        case LeaseKind.KEEPER:
            pass  # it goes with the last thing it holds
        case LeaseKind.SERVICE | LeaseKind.PERSISTENT_DATABASE:
            from testgrove.app.keeper_undo import undo_persistent  # noqa: PLC0415 - most worktrees have none

            undo_persistent(holder, leases.owner, lease)
            return ""
        case LeaseKind.DATABASE:
            note = _undo_database(leases, lease)
        case LeaseKind.LEFT_DATABASE:
            pass  # the user's
    leases.forget(lease)
    return note


def _undo_database(leases: StoredLeases, lease: Lease) -> str:
    note: str = implementation_of(lease.data["engine"]).drop_leased(lease.data)
    if note:
        remember_left(leases.store, lease)
    return note


def _undo_setup(holder: Holder, lease: Lease) -> None:
    repository = repository_of(lease)
    if repository is not None and git.is_checkout(repository, Path(lease.key)):
        _require_same_owner(Path(lease.key), lease)
        run_teardown(holder.supervisors, lease)


def _undo_branch(lease: Lease) -> None:
    repository = repository_of(lease)
    if repository is not None:
        git.delete_branch_if_at(repository, lease.data["branch"], lease.data["commit"])


def _undo_directory(path: Path) -> None:
    mounts.require_none(path, f"cannot delete {path}")
    for data in path.glob("*/data"):
        # A server that was killed has left a segment in the kernel, which its data directory alone can name.
        from testgrove.services.shared_memory import release_shared_memory  # noqa: PLC0415 - most commands meet none

        release_shared_memory(data)
    delete_tree(path, within=path.parent)


def _undo_checkout(holder: Holder, lease: Lease) -> None:
    path = Path(lease.key)
    repository = repository_of(lease)
    if _is_ours(path, repository, Path(lease.data["common_dir"])):
        _to_trash(holder, path)
    if repository is not None:
        git.remove_checkout(repository, path)
    remove_empty(path.parent)


def _is_ours(path: Path, repository: git.Repository | None, common_dir: Path) -> bool:
    """Return whether the folder is testgrove's checkout, perhaps incomplete; False for a folder of the user.

    repository: None if it is missing. Then only the ``.git`` file shows the owner of the folder.
    """
    with explained("look into", path):
        if not path.is_dir() or path.is_symlink():
            return False
        entries = {entry.name for entry in path.iterdir()}
    if not entries:
        return True  # `git worktree add` was killed; the folder is still empty
    if repository is None or entries == {".git"}:
        return _points_into(path, common_dir)
    return git.is_checkout(repository, path)


def _points_into(path: Path, common_dir: Path) -> bool:
    """Return whether a folder's ``.git`` file names a record of this repository, or is empty: its writer was killed."""
    pointer = path / ".git"
    with explained("look at", pointer):
        if not pointer.is_file():
            return False
        if pointer.stat().st_size == 0:
            return True
        return git.git_dir_of(path).resolve().is_relative_to((common_dir / "worktrees").resolve())


def _to_trash(holder: Holder, path: Path) -> None:
    folder = path.parent / TRASH
    trash = Lease(LeaseKind.TRASH, str(trash_location(path, folder)))
    holder.leases.record(trash)
    try:
        move_to_trash(path, folder, location=Path(trash.key))
    except ExhaustedError:  # no inode is left for the trash folder; a new name next to it needs none
        holder.leases.forget(trash)
        trash = Lease(LeaseKind.TRASH, f"{path.parent / TRASH}.{Path(trash.key).name}")
        holder.leases.record(trash)
        move_to_trash(path, path.parent, location=Path(trash.key))
    holder.delete_later(holder.leases, trash)


def repository_of(lease: Lease) -> git.Repository | None:
    """Return the lease's repository, or None if it was deleted. Raises PreconditionError (``not-ours``)."""
    common_dir = Path(lease.data["common_dir"])
    with explained("look into", common_dir):
        if not (common_dir / "HEAD").exists():
            return None
    _require_same_owner(common_dir, lease)
    return git.Repository(common_dir=common_dir, toplevel=Path(lease.data["main"]), main=Path(lease.data["main"]))


def _require_same_owner(path: Path, lease: Lease) -> None:
    """Refuse a folder that belongs neither to this user nor its former owner: git and teardowns run its files."""
    if (owner := owner_of(path)) not in (os.geteuid(), lease.data.get("owner")):
        raise PreconditionError(
            "not-ours",
            f"{path} belongs to user {owner}: refusing to run commands in it",
            hint=f"ls -ld {shlex.quote(str(path))}",
        )
