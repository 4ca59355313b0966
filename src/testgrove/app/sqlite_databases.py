"""A run's SQLite databases: a file in each worktree, which goes with it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from functools import partial

from testgrove.app.cell_databases import CellDatabases
from testgrove.app.creation import Creation
from testgrove.app.engine_databases import Made, Means
from testgrove.app.migrations import fingerprint, migration
from testgrove.core.settings import Sqlite
from testgrove.services.sqlite import SqliteTemplates


class SqliteFiles:
    """See engine_databases.EngineDatabases. migrate: the command for the template; empty for empty files."""

    note = ""

    def __init__(self, means: Means, service: Sqlite, *, migrate: str | None = None) -> None:
        self._means, self._service = means, service
        self._migrate = service.migrate if migrate is None else migrate
        self._templates = SqliteTemplates(means.project.locations.cache / "sqlite", means.holder.locks)

    def find(self) -> None:
        """Nothing: Python brings it."""

    def start_ahead(self) -> None:
        """Nothing."""

    def maker(self, creation: Creation, making: CellDatabases) -> Callable[[], Made]:
        """See engine_databases.EngineDatabases."""
        wanted = fingerprint(self._service, creation, engine=f"sqlite {sqlite3.sqlite_version}", migrate=self._migrate)
        return partial(self._make, wanted, creation, making)

    def _make(self, wanted: str, creation: Creation, making: CellDatabases) -> Made:
        migrate = migration(self._migrate, self._means.launcher, creation, making)
        path = creation.tree / self._service.path
        return None, self._templates.place(path, wanted, migrate, on_wait=making.say)

    def close(self) -> None:
        """Nothing."""
