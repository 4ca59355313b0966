"""What a run needs of each engine it uses, wherever that engine's server runs."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from testgrove.app.databases.cell import CellDatabases
from testgrove.app.holder import Holder
from testgrove.app.launcher import SupervisedLauncher
from testgrove.app.port_leases import ServerPorts
from testgrove.app.project import Project
from testgrove.app.worktrees import records
from testgrove.app.worktrees.workspace import Workspace
from testgrove.core.model import DatabaseAccess
from testgrove.services.base import Holding
from testgrove.services.hosts import EmbeddedHost
from testgrove.system.store import StoredLeases

if TYPE_CHECKING:
    from testgrove.app.providers.shares import Lender

Made = tuple[Holding | None, DatabaseAccess]


class EngineDatabases(Protocol):
    """One engine's databases for a run's cells. Safe to use from all slots. note: what its user should know."""

    note: str

    def find(self) -> None:
        """Check that these databases are available, before anything is created. Raises TestgroveError if not."""

    def start_ahead(self) -> None:
        """Begin with what takes time. Everything that is made from now on is recorded in the run's leases."""

    def maker(self, creation: Workspace, making: CellDatabases) -> Callable[[], Made]:
        """Return a function that creates a cell's database, to be called in a thread.

        Files of the tree are read now, before something is built in it. The function returns what removes the
        database again; None if nothing has to."""

    def lender(self, held: Holding | None, owner: str) -> Lender | None:
        """Return the provider of fresh databases for a cell's tests; None where there is none.

        held: what holds the cell's own database. owner: the holder's name, shown in the marks of the databases.
        """

    def close(self) -> None:
        """Let go of everything but what the run's leases name."""


class Means(Protocol):
    """What engines need from the command that asks for databases. kind: of owner marks (services.owner_marks)."""

    project: Project
    holder: Holder
    launcher: SupervisedLauncher
    kind: Literal["run", "worktree"]

    def leases_of(self, creation: Workspace) -> StoredLeases:
        """Where what is made for a worktree is recorded."""

    def owner_of(self, creation: Workspace) -> str:
        """Name the owner of a database, as its mark shows it."""


class WorktreeMeans:
    """Means for worktrees that outlive the command: each database belongs to its worktree."""

    kind: Literal["run", "worktree"] = "worktree"

    def __init__(self, project: Project, holder: Holder) -> None:
        self.project, self.holder = project, holder
        self.launcher = SupervisedLauncher(holder.supervisors, threading.Event())

    def leases_of(self, creation: Workspace) -> StoredLeases:
        """The worktree's."""
        return records.worktree_leases(self.project, creation.spec.id)

    def owner_of(self, creation: Workspace) -> str:
        """Implement Means."""
        return worktree_owner(self.project, str(creation.spec.id))


def worktree_owner(project: Project, name: str) -> str:
    """Whose the databases of a worktree are, in their marks on a server by URL."""
    return f"worktree {name} of {project.main} on {socket.gethostname()}"


class RunMeans:
    """Means of a run. folder: its scratch folder, in memory if there is space. ports: of its servers."""

    kind: Literal["run", "worktree"] = "run"

    def __init__(
        self, project: Project, holder: Holder, leases: StoredLeases, folder: Path, cancel: threading.Event
    ) -> None:
        self.project, self.holder, self.leases, self.folder = project, holder, leases, folder
        self.launcher = SupervisedLauncher(holder.supervisors, cancel)
        self.ports = ServerPorts(project, leases)
        where = project.locations
        self.host = EmbeddedHost(self.launcher, ours=(where.memory, where.scratch, where.cache), copies=where.binaries)

    def leases_of(self, creation: Workspace) -> StoredLeases:  # noqa: ARG002 - the run holds everything
        """The run's."""
        return self.leases

    def owner_of(self, creation: Workspace) -> str:
        """Implement Means."""
        return f"{self.leases.owner} {creation.spec.id} on {socket.gethostname()}"
