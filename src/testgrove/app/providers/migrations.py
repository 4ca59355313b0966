"""What lends databases to tests of migrations: empty ones, on a server of their own that needs no template."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from testgrove.app.databases.engines import RunMeans
from testgrove.app.providers.empty_databases import Blanks, blanks_of
from testgrove.core.migrations.known_tools import find_tool
from testgrove.core.model import DatabaseAccess
from testgrove.core.settings.types import Service, Services, Sqlite
from testgrove.services.broker import Share
from testgrove.services.migrations.inputs import read_inputs
from testgrove.services.migrations.migrator import Migrator
from testgrove.services.migrations.share import MigrationShare

Environ = Callable[[DatabaseAccess], Mapping[str, str]]


def migration_lenders(
    means: RunMeans, services: Services, tree: Path, environ: Environ, *, only: tuple[str, ...] | None = None
) -> dict[str, MigrationLender]:
    """By the names that a broker has for them. only: of these engines; environ: what a migration sees in the tree."""
    found: dict[str, Service | Sqlite | None] = {"postgres": services.postgres, "sqlite": services.sqlite}
    return {
        f"{engine}-migrations": MigrationLender(means, engine, service, tree, environ)
        for engine, service in found.items()
        if service is not None and service.migrate and (only is None or engine in only)
    }


class MigrationLender:
    """Provider of databases that their client migrates itself."""

    def __init__(self, means: RunMeans, engine: str, service: Service | Sqlite, tree: Path, environ: Environ) -> None:
        self._means, self._engine, self._service = means, engine, service
        self._tree, self._environ = tree, environ
        self._blanks: Blanks | None = None
        self._guard = threading.Lock()

    def open(self) -> Share:
        """Implement Lender. Raises UsageError if the migration tool cannot run step by step, PreconditionError."""
        table = f"[tool.testgrove.services.{self._engine}]"
        tool = find_tool(self._service.migrate, read_inputs(self._tree, self._service.inputs), table=table)
        with self._guard:
            self._blanks = self._blanks or blanks_of(self._means, self._service)
        settings = self._means.project.settings
        return MigrationShare(self._blanks, tool, Migrator(self._means.launcher, self._tree, self._environ, settings))

    def close(self) -> None:
        """Implement Lender."""
        if self._blanks is not None:
            self._blanks.close()
