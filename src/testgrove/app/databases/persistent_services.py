"""The project's servers as a user sees them: list, start, stop, and move one whose port is in use."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from testgrove.app.databases.persistent_ports import start_on_a_free_port
from testgrove.app.databases.worktree_external import accesses_without_keeper, without_keeper
from testgrove.app.holder import Holder
from testgrove.app.keeper import KeeperLocation, end_keeper, keeper_of, location_of
from testgrove.app.keeper_undo import keeper_lock, persistent_server
from testgrove.app.project import Project
from testgrove.app.worktrees import records
from testgrove.app.worktrees.files import write_files
from testgrove.core.engines.registry import engine_of
from testgrove.core.model import DatabaseAccess, Lease, LeaseKind
from testgrove.core.secret import Secret
from testgrove.core.worktrees.record import WorktreeRecord
from testgrove.errors import PreconditionError, TestgroveError
from testgrove.services.keeper.client import KeeperClient
from testgrove.services.keeper.service import LOG, PersistentService, engine_in, services_in
from testgrove.system.locks import LockFile

Say = Callable[[str], None]
T = TypeVar("T")
_TIMEOUT = 1800.0
_HINT = "`testgrove create` starts the servers configured in [tool.testgrove.services]"
PERSISTENT = (LeaseKind.SERVICE, LeaseKind.PERSISTENT_DATABASE)


def list_services(project: Project) -> list[dict[str, Any]]:
    """The project's servers; see ManagedServer.document(). Without a keeper all of them are stopped."""
    location = location_of(project.store, project.id)
    if location is None:
        return []
    client = KeeperClient.connect(location.socket)
    if client is not None:
        with client:
            return client.services()
    stopped = {"state": "stopped", "pid": None, "idle_seconds": None, "problem": "its keeper is not running"}
    return [
        {"name": service.name, "what": service.what, "port": service.port, **stopped}
        for service in services_in(location.folder)
    ]


def log_of(project: Project, name: str) -> Path:
    """A server's log file. Raises PreconditionError (``no-such-service``)."""
    location = _location(project, name)
    _chosen(location, [name])
    return location.folder / name / LOG


def start_services(project: Project, holder: Holder, names: Sequence[str], say: Say) -> None:
    """Start servers, all without names. Raises PreconditionError (``no-such-service``), UnavailableError."""
    location = _location(project)
    what, told = "the project's servers, held by another command", set[str]()

    def say_once(reason: str) -> None:
        if reason not in told:
            told.add(reason)
            say(reason)

    with (
        holder.locks.hold(keeper_lock(project.id), what=what, timeout=_TIMEOUT, on_wait=say_once),
        keeper_of(location, holder.locks, say) as keeper,
    ):
        for name in _chosen(location, names):
            port = start_on_a_free_port(project, keeper, location.folder / name)
            if port is not None:
                say(
                    f"the port of {name} is in use by another process; it now listens on port {port};"
                    " env files are updated"
                )
                rewrite_env_files(project, holder, location.folder / name, say)


def stop_services(project: Project, locks: LockFile, names: Sequence[str]) -> None:
    """Stop servers in good order; without names all of them, and the keeper. Data stays."""
    location = location_of(project.store, project.id)
    if location is None:
        return
    if not names:
        end_keeper(location, locks)
        return
    chosen = _chosen(location, names)
    client = KeeperClient.connect(location.socket)
    if client is not None:
        with client:
            for name in chosen:
                client.stop(name)


def reach_servers(project: Project, worktree: str, say: Say) -> KeeperClient | None:
    """A connection to the keeper of a worktree's databases, which can be reached then; None where it has none.

    While the connection is open, no server is stopped for being idle.
    """
    location = location_of(project.store, project.id)
    if location is None or not _names_of(project, worktree):
        return None
    client = KeeperClient.connect(location.socket)
    if client is not None:
        client.hold()
        found = {entry["name"]: entry["state"] for entry in client.services()}
        if all(found.get(name) in ("running", "stopped") for name in _names_of(project, worktree)):
            return client
        client.close()
    with project.holding("testgrove services start") as holder:
        start_services(project, holder, _names_of(project, worktree), say)
    client = KeeperClient.connect(location.socket)
    if client is not None:
        client.hold()
    return client


def accesses_of(project: Project, worktree: WorktreeRecord) -> dict[str, DatabaseAccess]:
    """Return how a worktree's databases are reached, passwords included."""
    found = {
        name: access
        for name, access in accesses_without_keeper(project, worktree).items()
        if without_keeper(project, name)
    }
    for lease in records.leases_of(project.store, worktree).all():
        if lease.kind in PERSISTENT and (access := _access(lease)):
            found[service_of(lease)] = access
    return found


def _access(lease: Lease) -> DatabaseAccess | None:
    """Return the access to what a lease names; None where its server was not laid out to the end."""
    path, _, name = lease.key.partition("#")
    folder, password = Path(path), Secret(lease.data["password"])
    if lease.kind == LeaseKind.PERSISTENT_DATABASE:
        server = persistent_server(folder)
        return server.access(name, password) if server else None
    engine = engine_of(engine_in(folder))
    port = PersistentService.read(folder).port
    return DatabaseAccess(engine.name, engine.default_database, "127.0.0.1", port, engine.user, password)


def service_of(lease: Lease) -> str:
    """Return the service that a lease names. In older versions, folders began with the engine's name."""
    folder = Path(lease.key.partition("#")[0])
    return str(lease.data.get("service") or folder.name.partition("-")[0])


def with_another_port(project: Project, holder: Holder, worktree: WorktreeRecord, work: Callable[[], T], say: Say) -> T:
    """Run work, which starts the servers of a worktree's databases, and return its result. If the port of one is taken,
    the server moves to another, and the work is done again: it must be idempotent."""
    try:
        return work()
    except TestgroveError as error:
        if error.code != "port-taken":
            raise
    leases = records.leases_of(project.store, worktree).all()
    folders = {lease.key.partition("#")[0] for lease in leases if lease.kind == LeaseKind.PERSISTENT_DATABASE}
    start_services(project, holder, sorted(Path(folder).name for folder in folders), say)
    return work()


def rewrite_env_files(project: Project, holder: Holder, folder: Path, say: Say = lambda _line: None) -> None:
    """Rewrite the env files of the worktrees with databases on a server. Files that users edited are kept."""
    for worktree in records.all_of(project):
        if folder.name in _names_of(project, str(worktree.id)) and worktree.path.is_dir():
            its = project.around(worktree.directory)
            for name in write_files(its, worktree, accesses_of(its, worktree)).kept:
                say(f"kept your edited {name} in {worktree.path}/{worktree.env_file}")
    records.write_registry(project.store, holder.locks, project.id, project.main)


def _names_of(project: Project, worktree: str) -> list[str]:
    """The servers that a worktree has databases on."""
    leases = project.store.leases(f"worktree:{project.id}/{worktree}").all()
    return [Path(lease.key.partition("#")[0]).name for lease in leases if lease.kind in PERSISTENT]


def _location(project: Project, name: str = "") -> KeeperLocation:
    location = location_of(project.store, project.id)
    if location is None:
        missing = f"server '{name}' not found (available: none)" if name else "this project has no servers yet"
        raise PreconditionError("no-such-service", missing, hint=_HINT)
    return location


def _chosen(location: KeeperLocation, names: Sequence[str]) -> list[str]:
    known = [service.name for service in services_in(location.folder)]
    for name in names:
        if name not in known:
            raise PreconditionError(
                "no-such-service",
                f"server '{name}' not found (available: {', '.join(known) or 'none'})",
                hint=_HINT,
            )
    return list(names) or known
