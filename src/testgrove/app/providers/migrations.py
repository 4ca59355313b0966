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
        f"{name}-migrations": _allocator(context, name, service, tree, partial(environ, name))
        for name, service in services.items()
        if engine_of(service.engine).migrates and service.migrate
    }


def _allocator(
    context: AppContext,
    name: str,
    service: Service,
    tree: Path,
    environ: Callable[[DatabaseAccess], Mapping[str, str]],
) -> Allocator:
    folder, settings = context.project.folder_in(tree, service.directory), context.project.settings
    empty: list[EmptyDatabases] = []  # one for all clients, once one has asked
    guard = threading.Lock()

    def opened() -> Allocation:
        """Raise UsageError where it is not known how to go step by step, PreconditionError."""
        table = f"[tool.testgrove.services.{name}]"
        tool = find_tool(service.migrate, read_inputs(folder, service.inputs), table=table)
        with guard:
            if not empty:
                empty.append(empty_databases(context, name, service))
        return MigrationAllocation(empty[0], tool, Migrator(context.launcher, folder, environ, settings))

    def close() -> None:
        for each in empty:
            each.close()

    return Allocator(opened, close)
