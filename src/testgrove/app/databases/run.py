"""The databases of a run: a separate one for each cell and each engine that its suite uses."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeGuard

from testgrove.app.databases.cell import CellDatabases, Make
from testgrove.app.databases.engines import EngineDatabases, Made, RunMeans
from testgrove.app.holder import Holder
from testgrove.app.project import Project
from testgrove.app.providers.shares import Lender, LendingBroker
from testgrove.app.worktrees.workspace import Workspace
from testgrove.core.model import DatabaseAccess
from testgrove.core.runs.plan import Cell
from testgrove.core.server_url import parse_server_url
from testgrove.core.settings.types import Services
from testgrove.errors import TestgroveError
from testgrove.services.base import Holding
from testgrove.system.store import StoredLeases

if TYPE_CHECKING:
    from testgrove.services.engines.postgres.server import PostgresServer

_ENDED = (
    "its PostgreSQL was stopped while the suite ran, and $DATABASE_URL stopped answering;"
    " the fixture `database` continued with another server"
)
_HINT = 'services = ["{}"] in the suite\'s table'  # for a test that asks for another engine


class RunDatabases:
    """Creates and removes the databases of cells. Safe to use from all slots."""

    def __init__(
        self, project: Project, holder: Holder, leases: StoredLeases, folder: Path, cancel: threading.Event
    ) -> None:
        self._services = project.settings.services
        self._means = RunMeans(project, holder, leases, folder, cancel)
        self._cancel = cancel
        self._engines: dict[tuple[str, str], EngineDatabases] = {}  # by engine and version, where there are several
        self._lacking: dict[tuple[str, str], TestgroveError] = {}
        self._guard = threading.Lock()
        self._of_cells: dict[str, dict[str, tuple[Holding, str]]] = {}  # by engine
        self._number = 0
        self._brokers: dict[str, LendingBroker | None] = {}
        self._creations: dict[str, Workspace] = {}

    def find(self, cells: Sequence[Cell]) -> None:
        """Check that the databases of all cells are available, before anything is created.

        Raises TestgroveError. If an engine has several versions, a missing one fails only its cells.
        """
        for cell in cells:
            for engine in cell.settings.services:
                if _key(engine, cell) not in {**self._engines, **self._lacking}:
                    self._find(engine, cell)
        several = {engine for engine, version in self._lacking if version}
        for engine in several - {engine for engine, _ in self._engines}:
            raise next(error for key, error in self._lacking.items() if key[0] == engine)

    def _find(self, engine: str, cell: Cell) -> None:
        found = databases_of(engine, self._services.at(cell.versions), self._means)
        try:
            found.find()
            self._engines[_key(engine, cell)] = found
        except TestgroveError as error:
            if engine not in cell.versions:
                raise
            self._lacking[_key(engine, cell)] = error

    @property
    def notes(self) -> tuple[str, ...]:
        """Return the limits of the servers, for the run's header."""
        return tuple(engine.note for engine in self._engines.values() if engine.note)

    def start_ahead(self) -> None:
        """Start slow work in advance."""
        for engine in self._engines.values():
            engine.start_ahead()

    def for_cell(self, cell: Cell) -> CellDatabases | None:
        """Return the creation of a cell's databases; None if its suite uses none."""
        services = cell.settings.services
        return CellDatabases(services, partial(self._begin, cell), self._cancel) if services else None

    def broker(self, cell: Cell) -> Path | None:
        """Where a cell's tests can ask for fresh databases; None where its suite has none that can be lent.

        It costs nothing but a socket until the first of them does.
        """
        if cell.key not in self._brokers:
            self._brokers[cell.key] = self._broker(cell)
        broker = self._brokers[cell.key]
        return broker.path if broker else None

    def _broker(self, cell: Cell) -> LendingBroker | None:
        of_cell, owner = self._of_cells.get(cell.key, {}), f"{self._means.leases.owner} {cell.id}"
        found = {
            engine: self._of(engine, cell).lender(of_cell[engine][0] if engine in of_cell else None, owner)
            for engine in cell.settings.services
        }
        lenders = {engine: lender for engine, lender in found.items() if lender is not None}
        lenders |= self._of_migrations(cell)
        if not lenders:
            return None
        with self._guard:
            self._number += 1
            path = self._means.folder / f"broker-{self._number}.sock"
        return LendingBroker(path, lenders, _HINT, self._means)

    def further(self, cell: Cell) -> list[str]:
        """The databases that a cell's tests have made by themselves on a PostgreSQL of the run's own, as they are there
        now. Raises UnavailableError."""
        held = self._of_cells.get(cell.key, {}).get("postgres")
        return held[0].further_databases(held[1]) if held is not None and _is_ours(held[0]) and held[0].alive else []

    def _of_migrations(self, cell: Cell) -> dict[str, Lender]:
        services, creation = self._services.at(cell.versions), self._creations.get(cell.key)
        shared = services.postgres is not None and services.postgres.isolation == "none"
        engines = tuple(each for each in cell.settings.services if each != "postgres" or not shared)
        if creation is None or not {"postgres", "sqlite"} & set(engines):
            return {}
        from testgrove.app.providers.migrations import migration_lenders  # noqa: PLC0415 - only where one can be asked for

        def environ(access: DatabaseAccess) -> dict[str, str]:
            return creation.environ_with({access.engine: access})

        return dict(migration_lenders(self._means, services, creation.tree, environ, only=engines))

    def release(self, cell: Cell) -> None:
        """Take a cell's databases away."""
        if broker := self._brokers.pop(cell.key, None):  # each further attempt gets its own
            broker.close()
        for server, name in self._of_cells.pop(cell.key, {}).values():
            if not _is_ours(server) or server.alive:
                server.drop_database(name)
            elif creation := self._creations.get(cell.key):
                creation.notes.append(_ENDED)

    def close(self) -> None:
        """Stop every server of the run, and let go of those of others."""
        for broker in self._brokers.values():
            if broker:
                broker.close()
        for held in self._of_cells.values():
            for server, _ in held.values():
                server.stop()
        for engine in self._engines.values():
            engine.close()

    def _begin(self, cell: Cell, creation: Workspace, making: CellDatabases) -> dict[str, Make]:
        self._creations[cell.key] = creation
        makers = {engine: self._of(engine, cell).maker(creation, making) for engine in cell.settings.services}
        return {engine: partial(self._make, cell, engine, maker) for engine, maker in makers.items()}

    def _of(self, engine: str, cell: Cell) -> EngineDatabases:
        if error := self._lacking.get(_key(engine, cell)):
            raise error
        return self._engines[_key(engine, cell)]

    def _make(self, cell: Cell, engine: str, maker: Callable[[], Made]) -> DatabaseAccess:
        server, access = maker()
        if server is not None:
            with self._guard:
                self._of_cells.setdefault(cell.key, {})[engine] = server, access.name
        return access


def _is_ours(server: Holding) -> TypeGuard[PostgresServer]:
    """Whether it is a PostgreSQL of the run's own."""
    from testgrove.services.engines.postgres.server import PostgresServer  # noqa: PLC0415 - loaded where there is a PostgreSQL

    return isinstance(server, PostgresServer)


def _key(engine: str, cell: Cell) -> tuple[str, str]:
    return engine, cell.versions.get(engine, "")


def databases_of(engine: str, services: Services, means: RunMeans) -> EngineDatabases:
    """An engine's databases, on the host that the settings name."""
    if engine == "sqlite":
        from testgrove.app.databases.sqlite import SqliteFiles  # noqa: PLC0415 - what one host needs, others do without

        assert services.sqlite is not None
        return SqliteFiles(means, services.sqlite)
    service = services.postgres if engine == "postgres" else services.redis
    assert service is not None
    if service.host == "embedded":
        from testgrove.app.databases.embedded import EmbeddedPostgres, EmbeddedRedis  # noqa: PLC0415 - as above

        return EmbeddedPostgres(means, service) if engine == "postgres" else EmbeddedRedis(means, service)
    from testgrove.app.databases.external import AsGiven, ServerPostgres, ServerRedis  # noqa: PLC0415 - as above

    if service.isolation == "none":
        return AsGiven(parse_server_url(engine, service.host))
    return ServerPostgres(means, service) if engine == "postgres" else ServerRedis(means, service)
