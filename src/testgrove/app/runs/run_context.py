"""The state that the slots of a run share."""

from __future__ import annotations

from dataclasses import field
from pathlib import Path
from queue import SimpleQueue
from threading import Event as Flag
from typing import TYPE_CHECKING

from testgrove.app.connections.watch import ConnectionWatch
from testgrove.app.databases.run import RunDatabases
from testgrove.app.holder import Holder
from testgrove.app.project import Project
from testgrove.app.runs.leaks import LeakWatch
from testgrove.app.runs.start_gate import StartGate
from testgrove.app.worktrees.workspace import Target
from testgrove.core.frozen import frozen
from testgrove.core.runs.events import AnyEvent
from testgrove.core.runs.plan import Cell

if TYPE_CHECKING:
    from testgrove.app.runs.coverage import RunCoverage


@frozen
class RunContext:
    """The shared state of a run's slots. targets: what each ref means, by the ref as the user wrote it. seed: of a
    random order of the tests. coverage: what measures it, where that is asked for. keep_failed: leave the worktrees of
    cells that fail to people. leaks: looks at what attempts leave behind. connections: looks where they connect to.
    gate: lets only so many start at once. given_up: cells that must not be tried again. chosen: the user chooses tests
    by keyword."""

    project: Project
    holder: Holder
    id: str
    folder: Path
    scratch: Path
    plugin: Path
    inbox: SimpleQueue[AnyEvent]
    cancel: Flag
    databases: RunDatabases
    leaks: LeakWatch
    connections: ConnectionWatch
    gate: StartGate
    targets: dict[str, Target]
    seed: int | None = None
    coverage: RunCoverage | None = None
    keep_failed: bool = False
    chosen: bool = False
    given_up: set[str] = field(default_factory=set)

    def project_of(self, cell: Cell) -> Project:
        """The project, with the settings that count for a cell."""
        return self.project if cell.scenario is not None else self.project.at(cell.subproject)

    def emit(self, event: AnyEvent) -> None:
        """Put an event on the run's queue."""
        self.inbox.put(event)
