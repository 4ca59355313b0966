"""Undo of what a project's keeper holds: a database, a server, and at last the keeper itself."""

from __future__ import annotations

from pathlib import Path

from testgrove.app.holder import Holder
from testgrove.app.keeper import KeeperLocation, end_keeper, keeper_of, project_owner
from testgrove.core.engines.registry import implementation_of
from testgrove.core.model import Lease, LeaseKind
from testgrove.errors import PreconditionError, TestgroveError
from testgrove.services.engines.protocols import PersistentServer
from testgrove.services.keeper.client import KeeperClient
from testgrove.services.keeper.service import engine_in
from testgrove.services.shared_memory import release_shared_memory
from testgrove.system import mounts
from testgrove.system.deletion import delete_tree
from testgrove.system.store import Store

_TIMEOUT = 1800.0  # seconds that another command's migration may take


def keeper_lock(project: str) -> str:
    """The lock for changing the servers of a project's keeper."""
    return f"kept:{project}"


def undo_persistent(holder: Holder, owner: str, lease: Lease) -> None:
    """Take away a database or a server of a worktree, and the lease; with the last one everything goes."""
    location = KeeperLocation.of_lease(lease)
    what = "the project's servers, held by another command"
    with holder.locks.hold(keeper_lock(location.project), what=what, timeout=_TIMEOUT):
        if has_others(holder.store, location.project, lease):
            if lease.kind == LeaseKind.SERVICE:
                _undo_service(location, Path(lease.key))
            else:
                _undo_database(holder, location, lease)
        else:
            _undo_whole(holder, location)
        holder.store.leases(owner).forget(lease)


def has_others(store: Store, project: str, but: Lease | None = None) -> bool:
    """Return whether a project's keeper holds anything of any worktree, but for one lease."""
    kinds = (LeaseKind.SERVICE, LeaseKind.PERSISTENT_DATABASE)
    leases = [each.lease for each in store.leases_of_kinds(*kinds) if each.lease.data.get("project") == project]
    return any(but is None or (lease.kind, lease.key) != (but.kind, but.key) for lease in leases)


def _undo_service(location: KeeperLocation, folder: Path) -> None:
    mounts.require_none(folder, f"cannot delete {folder}")
    client = KeeperClient.connect(location.socket)
    if client:
        with client:
            client.drop(folder.name)
    delete_tree(folder, within=location.folder)


def _undo_database(holder: Holder, location: KeeperLocation, lease: Lease) -> None:
    folder, _, name = lease.key.partition("#")
    server = persistent_server(Path(folder))
    if server is None:
        return
    with keeper_of(location, holder.locks, lambda _reason: None) as keeper:
        try:
            keeper.start(server.folder.name)
        except TestgroveError as error:
            if error.code == "port-taken":
                # Also in the message: notes and lines of a clean-up have no hint.
                error.message += "; `testgrove services start` gives the server another port"
                error.hint = "testgrove services start   then try again"
            raise
        implementation_of(server.endpoint.engine).prepare()
        server.drop_database(name)


def persistent_server(folder: Path) -> PersistentServer | None:
    """The server with databases for several worktrees in a folder; None where it was not laid out to the end."""
    try:
        found: PersistentServer | None = implementation_of(engine_in(folder)).persistent(folder)
    except PreconditionError:
        return None
    return found


def undo_keeper(holder: Holder, location: KeeperLocation) -> None:
    """Take away a keeper that has nothing of any worktree's, and its servers. Raises as delete_tree() does."""
    what = "the project's servers, held by another command"
    with holder.locks.hold(keeper_lock(location.project), what=what, timeout=_TIMEOUT):
        if not has_others(holder.store, location.project):
            _undo_whole(holder, location)


def _undo_whole(holder: Holder, location: KeeperLocation) -> None:
    leases = holder.store.leases(project_owner(location.project))
    for folder in (location.run, location.folder):
        mounts.require_none(folder, f"cannot delete {folder}")
    end_keeper(location, holder.locks)
    for service in location.folder.glob("*/data"):
        release_shared_memory(service)
    for folder in (location.run, location.folder):
        delete_tree(folder, within=folder.parent)
    leases.forget(*leases.all())
