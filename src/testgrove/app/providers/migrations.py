"""Databases for tests of migrations: empty ones, on a server of their own that needs no template."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from testgrove.app.context import AppContext
from testgrove.app.providers.empty_databases import EmptyDatabases, empty_databases
from testgrove.core.engines.registry import engine_of
from testgrove.core.migrations.known_tools import find_tool
from testgrove.core.model import DatabaseAccess
from testgrove.core.settings.types import Service
from testgrove.services.allocation import Allocation
from testgrove.services.migrations.allocation import MigrationAllocation
from testgrove.services.migrations.inputs import read_inputs
from testgrove.services.migrations.migrator import Migrator
from testgrove.services.provider import Allocator

Environ = Callable[[str, DatabaseAccess], Mapping[str, str]]


def migration_allocators(
    context: AppContext, services: Mapping[str, Service], tree: Path, environ: Environ
) -> dict[str, Allocator]:
    """Return those of services with migrations, by the names that a broker has for them.

    environ: what a migration of a service sees in the tree.
    """
    return {
        f"{name}-migrations": _MigrationAllocator(context, name, service, tree, partial(environ, name))
        for name, service in services.items()
        if engine_of(service.engine).migrates and service.migrate
    }


class _MigrationAllocator:
    """Allocates empty databases for tests of migrations."""

    def __init__(
        self,
        context: AppContext,
        name: str,
        service: Service,
        tree: Path,
        environ: Callable[[DatabaseAccess], Mapping[str, str]],
    ) -> None:
        self._context, self._name, self._service = context, name, service
        self._folder, self._environ = context.project.folder_in(tree, service.directory), environ
        self._empty: EmptyDatabases | None = None
        self._guard = threading.Lock()

    def open(self) -> Allocation:
        """Implement Allocator. Raises UsageError where it is not known how to go step by step, PreconditionError."""
        table = f"[tool.testgrove.services.{self._name}]"
        tool = find_tool(self._service.migrate, read_inputs(self._folder, self._service.inputs), table=table)
        with self._guard:
            self._empty = self._empty or empty_databases(self._context, self._name, self._service)
        settings = self._context.project.settings
        migrator = Migrator(self._context.launcher, self._folder, self._environ, settings)
        return MigrationAllocation(self._empty, tool, migrator)

    def close(self) -> None:
        """Implement Allocator."""
        if self._empty is not None:
            self._empty.close()
