"""Who asks for databases: a run, a session or a single command, and commands for worktrees that outlive them."""

from __future__ import annotations

import secrets
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from testgrove.app.holder import Holder
from testgrove.app.launcher import SupervisedLauncher
from testgrove.app.port_leases import ServerPorts
from testgrove.app.project import Project
from testgrove.app.worktrees import records
from testgrove.app.worktrees.undo import undo
from testgrove.app.worktrees.workspace import Workspace
from testgrove.core.model import Lease, LeaseKind
from testgrove.services.hosts.embedded import EmbeddedHost
from testgrove.services.owner_marks import Kind
from testgrove.services.provider import Context
from testgrove.system.files import explained
from testgrove.system.store import StoredLeases


@dataclass
class AppContext(Context):
    """The context of a command. project, holder: the command's."""

    launcher: SupervisedLauncher
    project: Project
    holder: Holder
    leases: StoredLeases

    def leases_of(self, workspace: Workspace) -> StoredLeases:
        """Return the leases that record a workspace's databases: those of the run, if they end with it."""
        return self.leases if self.kind == "run" else records.worktree_leases(self.project, workspace.spec.id)

    def owner_of(self, workspace: Workspace) -> str:
        """Name the owner of a database, as its mark shows it."""
        if self.kind == "run":
            return f"{self.leases.owner} {workspace.spec.id} on {socket.gethostname()}"
        return worktree_owner(self.project, str(workspace.spec.id))


def worktree_owner(project: Project, name: str) -> str:
    """Return the owner in the marks of a worktree's databases on an external server."""
    return f"worktree {name} of {project.main} on {socket.gethostname()}"


def run_context(
    project: Project, holder: Holder, leases: StoredLeases, folder: Path, cancel: threading.Event
) -> AppContext:
    """For what goes with a run. folder: the run's own, in memory where there is room."""
    return _context(project, holder, leases, folder, cancel, "run")


def worktree_context(project: Project, holder: Holder) -> AppContext:
    """For worktrees that outlive the command: what is made for one is its own."""
    return _context(project, holder, holder.leases, project.locations.memory, threading.Event(), "worktree")


def _context(
    project: Project, holder: Holder, leases: StoredLeases, folder: Path, cancel: threading.Event, kind: Kind
) -> AppContext:
    launcher, where = SupervisedLauncher(holder.supervisors, cancel), project.locations
    ours = (where.memory, where.scratch, where.cache, where.servers, where.open_servers)
    return AppContext(
        launcher=launcher,
        locks=holder.locks,
        cache=where.cache,
        project_id=project.id,
        fresh=project.fresh_templates,
        kind=kind,
        leases=leases,
        folder=folder,
        ports=ServerPorts(project, leases),
        host=EmbeddedHost(launcher, ours=ours, copies=where.binaries),
        project=project,
        holder=holder,
    )


@contextmanager
def own_folder(project: Project, holder: Holder, name: str) -> Iterator[AppContext]:
    """A context whose folder, ports and databases are this command's, and gone with it. name: the folder's first
    part."""
    folder = project.locations.memory / f"{name}-{secrets.token_hex(3)}"
    holder.leases.record(Lease(LeaseKind.DIRECTORY, str(folder)))
    with explained("create the folder", folder):
        folder.mkdir(mode=0o700)
    cancel = threading.Event()
    try:
        yield run_context(project, holder, holder.leases, folder, cancel)
    finally:
        cancel.set()
        undo(holder, holder.leases, LeaseKind.DATABASE, LeaseKind.DIRECTORY, LeaseKind.PORTS)
