"""The databases of a run whose cells belong to several sub-projects, each with its own settings."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from testgrove.app.databases.creation import DatabaseCreation
from testgrove.app.databases.run import RunDatabases
from testgrove.app.holder import Holder
from testgrove.app.project import Project
from testgrove.core.runs.plan import Cell
from testgrove.system.files import explained
from testgrove.system.store import StoredLeases


class DatabasesOfProjects:
    """One `RunDatabases` for each sub-project; asks the one that a cell belongs to. Safe to use from all slots.

    folder: where servers are; sub-projects get folders in it.
    """

    def __init__(
        self, project: Project, holder: Holder, leases: StoredLeases, folder: Path, cancel: threading.Event
    ) -> None:
        self._project, self._holder, self._leases = project, holder, leases
        self._folder, self._cancel = folder, cancel
        self._of: dict[str, RunDatabases] = {}
        self._folders: list[Path] = []

    def find(self, cells: Sequence[Cell]) -> None:
        """Check that the databases of all cells are available, before anything is created. Raises TestgroveError."""
        for subproject in dict.fromkeys(cell.subproject for cell in cells):
            own = [cell for cell in cells if cell.subproject == subproject]
            scenarios = any(cell.scenario is not None for cell in own)
            project = self._project if scenarios else self._project.at(subproject)
            folder = self._folder
            if self._of:
                folder = self._folder / str(len(self._of))
                self._folders.append(folder)
            databases = RunDatabases(project, self._holder, self._leases, folder, self._cancel)
            self._of[subproject] = databases
            databases.find(own)

    @property
    def notes(self) -> tuple[str, ...]:
        """Return the limits of the servers, for the run's header."""
        return tuple(dict.fromkeys(note for databases in self._of.values() for note in databases.notes))

    def start_ahead(self) -> None:
        """Start slow work in advance; the run's folder is there."""
        for folder in self._folders:
            with explained("create the run's folder", folder):
                folder.mkdir(mode=0o700)
        for databases in self._of.values():
            databases.start_ahead()

    def for_cell(self, cell: Cell) -> DatabaseCreation | None:
        """Return the creation of a cell's databases; None if its suite uses none."""
        return self._of[cell.subproject].for_cell(cell)

    def environ(self, cell: Cell) -> dict[str, str]:
        """Return the variables by which a cell's tests ask for fresh databases."""
        return self._of[cell.subproject].environ(cell)

    def further(self, cell: Cell) -> list[str]:
        """Return the databases that a cell's tests have created themselves. Raises UnavailableError."""
        return self._of[cell.subproject].further(cell)

    def release(self, cell: Cell) -> None:
        """Drop a cell's databases."""
        self._of[cell.subproject].release(cell)

    def close(self) -> None:
        """Stop every server of the run, and disconnect from external ones."""
        with ExitStack() as closing:  # each is closed, whatever the others raise
            for databases in self._of.values():
                closing.callback(databases.close)
