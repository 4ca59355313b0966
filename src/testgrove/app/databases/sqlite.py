"""A run's SQLite databases: a file in each worktree, removed with it; for scenarios, in the run's scratch folder."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from functools import partial
from pathlib import Path
from secrets import token_hex

from testgrove.app.databases.cell import CellDatabases
from testgrove.app.databases.engines import Made, Means, RunMeans
from testgrove.app.databases.migration import fingerprint, migration
from testgrove.app.providers.shares import Lender, SqliteCopies
from testgrove.app.worktrees.workspace import Workspace
from testgrove.core.model import DatabaseAccess
from testgrove.core.settings.types import Sqlite
from testgrove.services.base import Holding
from testgrove.services.engines.sqlite.files import SqliteTemplates


class SqliteFiles:
    """SQLite files for cells. migrate: the command that migrates the template; empty for empty files."""

    note = ""

    def __init__(self, means: Means, service: Sqlite, *, migrate: str | None = None) -> None:
        self._means, self._service = means, service
        self._migrate = service.migrate if migrate is None else migrate
        project = means.project
        self._templates = SqliteTemplates(
            project.locations.cache / "sqlite", means.holder.locks, fresh=project.fresh_templates
        )

    def find(self) -> None:
        """Nothing: Python brings it."""

    def start_ahead(self) -> None:
        """Nothing."""

    def maker(self, creation: Workspace, making: CellDatabases) -> Callable[[], Made]:
        """Implement EngineDatabases."""
        wanted = fingerprint(self._service, creation, engine=f"sqlite {sqlite3.sqlite_version}", migrate=self._migrate)
        return partial(self._make, wanted, creation, making)

    def _make(self, wanted: str, creation: Workspace, making: CellDatabases) -> Made:
        migrate = migration(self._migrate, self._means.launcher, creation, making)
        place = partial(self._templates.place, fingerprint=wanted, build=migrate)
        return SqliteHeld(place), place(creation.database_folder / self._service.path, on_wait=making.say)

    def lender(self, held: Holding | None, owner: str) -> Lender | None:  # noqa: ARG002 - files have no marks
        """Implement EngineDatabases."""
        assert isinstance(held, SqliteHeld)
        assert isinstance(self._means, RunMeans)
        return SqliteCopies(held.place, self._means.folder / f"sqlite-{token_hex(3)}")

    def close(self) -> None:
        """Nothing."""


class SqliteHeld:
    """A file that is removed with its worktree. place: writes another copy of it to a path."""

    def __init__(self, place: Callable[[Path], DatabaseAccess]) -> None:
        self.place = place

    def drop_database(self, name: str) -> None:
        """Nothing."""

    def stop(self) -> None:
        """Nothing."""
