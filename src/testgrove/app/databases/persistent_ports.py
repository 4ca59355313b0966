"""The ports of a project's own servers: one that another process has taken is exchanged for the next free one."""

from __future__ import annotations

from pathlib import Path

from testgrove.app.keeper import project_owner
from testgrove.app.port_leases import lease_server_port
from testgrove.app.project import Project
from testgrove.app.worktrees import records
from testgrove.core.engines.registry import engine_of, implementation_of
from testgrove.core.model import Lease, LeaseKind
from testgrove.errors import PreconditionError, UnavailableError
from testgrove.services.keeper.client import KeeperClient
from testgrove.services.keeper.service import PersistentService, engine_in
from testgrove.system.store import StoredLeases


def start_on_a_free_port(project: Project, keeper: KeeperClient, folder: Path) -> int | None:
    """Have a server running; the port that it moved to, None where it has its own still.

    Each port is leased before it is tried, and those that were taken stay leased until another one is found.
    Raises UnavailableError, ExhaustedError (``ports-exhausted``).
    """
    taken: list[tuple[StoredLeases, Lease]] = []
    try:
        while True:
            try:
                keeper.start(folder.name)
            except UnavailableError as error:
                if error.code != "port-taken":
                    raise
                taken.append(_move(project, folder))
            else:
                return PersistentService.read(folder).port if taken else None
    finally:
        for leases, lease in taken:
            leases.forget(lease)


def _move(project: Project, folder: Path) -> tuple[StoredLeases, Lease]:
    """Give a server another port; return the lease of the old one and its owner."""
    leases, old = _port_lease(project, folder)
    port = lease_server_port(project, leases, folder.name)
    engine = engine_in(folder)
    implementation = implementation_of(engine)
    if engine_of(engine).isolation == "instance":
        implementation.move_instance(folder, port)
    elif server := implementation.persistent(folder):
        server.move(port)
    return leases, old


def _port_lease(project: Project, folder: Path) -> tuple[StoredLeases, Lease]:
    port = PersistentService.read(folder).port
    owners = [records.leases_of(project.store, worktree) for worktree in records.all_of(project)]
    for leases in (project.store.leases(project_owner(project.id)), *owners):
        for lease in leases.all():
            if lease.kind == LeaseKind.PORTS and (lease.data["name"], lease.data["port"]) == (folder.name, port):
                return leases, lease
    raise PreconditionError("no-such-service", f"{folder.name} has no leased port", hint="testgrove services list")
