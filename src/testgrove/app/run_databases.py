"""The databases of a run: servers that it owns, one for each template, and a database of its own for each cell."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from testgrove.app.cell_databases import CellDatabases, Make
from testgrove.app.creation import Creation
from testgrove.app.holder import Holder
from testgrove.app.launcher import SupervisedLauncher
from testgrove.app.project import Project
from testgrove.core.config import Service, port_range
from testgrove.core.fingerprint import template_fingerprint
from testgrove.core.model import DatabaseAccess
from testgrove.core.naming import database_name
from testgrove.core.plan import Cell
from testgrove.errors import TestgroveError
from testgrove.services.base import Server, generate_password
from testgrove.services.binaries import PostgresBinaries, RedisBinary, find_postgres, find_redis
from testgrove.services.hosts import EmbeddedHost
from testgrove.services.inputs import read_inputs
from testgrove.services.postgres import ENCODING, LOCALE, PostgresServer, Template, require_driver
from testgrove.services.redis import RedisServer
from testgrove.services.templates import TemplateCache, run_migration
from testgrove.system.files import atomic_write
from testgrove.system.ports import lease_block
from testgrove.system.store import StoredLeases

_PATIENCE = 0.1  # seconds between two looks whether waiting still makes sense


class RunDatabases:
    """Makes and takes away what cells ask for. Safe to use from all slots."""

    def __init__(
        self, project: Project, holder: Holder, leases: StoredLeases, folder: Path, cancel: threading.Event
    ) -> None:
        self._project, self._holder, self._leases = project, holder, leases
        self._folder = folder
        self._launcher = SupervisedLauncher(holder.supervisors, cancel)
        where = project.locations
        self._host = EmbeddedHost(
            self._launcher, ours=(where.memory, where.scratch, where.cache), copies=where.binaries
        )
        self._postgres_binaries: PostgresBinaries
        self._redis_binary: RedisBinary
        self._templates: TemplateCache | None = None
        self._last = where.cache / "templates" / f"{project.id}.last"
        self._ahead = threading.Thread(target=self._start_likely, name="ahead")
        self._servers: dict[str, PostgresServer] = {}
        self._locks: dict[str, threading.Lock] = {}
        self._guard = threading.Lock()
        self._of_cells: dict[str, list[tuple[Server, str]]] = {}

    def find(self, cells: Sequence[Cell]) -> None:
        """Find the servers' binaries before anything is made. Raises PreconditionError where there are none."""
        services = self._project.settings.services
        asked = {engine for cell in cells for engine in cell.settings.services}
        if services.postgres and "postgres" in asked:
            require_driver()
            self._postgres_binaries = find_postgres(services.postgres.version, services.postgres.extensions)
            # One for the run: it knows which template could not be built, and does not try for each cell.
            self._templates = TemplateCache(
                self._project.locations.cache / "templates",
                self._holder.locks,
                binaries=self._postgres_binaries,
                host=self._host,
                work=self._folder,
                extensions=services.postgres.extensions,
                settings=services.postgres.settings,
            )
        if services.redis and "redis" in asked:
            self._redis_binary = find_redis(self._launcher, services.redis.version)

    def start_ahead(self) -> None:
        """Begin to start the server that the project's last run had: most often this one needs the same."""
        if self._templates is not None:
            self._ahead.start()

    def _start_likely(self) -> None:
        with suppress(TestgroveError, OSError):  # whoever needs the server starts it, and is told what is wrong
            fingerprint = self._last.read_text()
            if template := self._cache.find(fingerprint):
                with self._lock(fingerprint):
                    if fingerprint not in self._servers:
                        self._servers[fingerprint] = self._serve(template, self._lease_port("postgres"))

    def for_cell(self, cell: Cell) -> CellDatabases | None:
        """What makes a cell's databases; None where its suite asks for none."""
        return CellDatabases(cell.settings.services, partial(self._begin, cell)) if cell.settings.services else None

    def release(self, cell: Cell) -> None:
        """Take a cell's databases away."""
        for server, name in self._of_cells.pop(cell.key, []):
            server.drop_database(name)

    def close(self) -> None:
        """Stop every server of the run."""
        if self._ahead.ident is not None:
            self._ahead.join()
        for held in self._of_cells.values():
            for server, _ in held:
                server.stop()
        for server in self._servers.values():
            server.stop()

    def _begin(self, cell: Cell, creation: Creation, making: CellDatabases) -> dict[str, Make]:
        """What makes each database. What is read from the tree is read now, before something is built in it."""
        makers: dict[str, Callable[[], tuple[Server, DatabaseAccess]]] = {}
        if "postgres" in cell.settings.services:
            makers["postgres"] = partial(self._postgres, self._fingerprint(creation), creation, making)
        if "redis" in cell.settings.services:
            makers["redis"] = partial(self._redis, creation)
        return {engine: partial(self._make, cell, maker) for engine, maker in makers.items()}

    def _make(self, cell: Cell, maker: Callable[[], tuple[Server, DatabaseAccess]]) -> DatabaseAccess:
        server, access = maker()
        with self._guard:
            self._of_cells.setdefault(cell.key, []).append((server, access.name))
        return access

    def _postgres(self, fingerprint: str, creation: Creation, making: CellDatabases) -> tuple[Server, DatabaseAccess]:
        lock = self._lock(fingerprint)
        while not lock.acquire(timeout=_PATIENCE):
            making.say("its server, which is being started")
        try:
            server = self._servers.get(fingerprint)
            if server is None:
                server = self._servers[fingerprint] = self._start(fingerprint, creation, making)
        finally:
            lock.release()
        making.check()
        name = database_name(creation.spec.id)
        return server, server.create_database(name, owner=f"{self._leases.owner} {creation.row['id']}")

    def _lock(self, fingerprint: str) -> threading.Lock:
        with self._guard:
            return self._locks.setdefault(fingerprint, threading.Lock())

    def _fingerprint(self, creation: Creation) -> str:
        service, binaries = self._service("postgres"), self._postgres_binaries
        assert creation.plan is not None
        return template_fingerprint(
            engine=f"postgres {binaries.version} {binaries.build}",
            encoding=ENCODING,
            locale=LOCALE,
            extensions=service.extensions,
            settings=service.settings,
            migrate=service.migrate,
            tool=creation.plan.fingerprint,
            inputs=read_inputs(creation.tree, service.inputs) if service.migrate else (),
        )

    def _start(self, fingerprint: str, creation: Creation, making: CellDatabases) -> PostgresServer:
        service, port = self._service("postgres"), self._lease_port("postgres")
        template = self._cache.ensure(
            fingerprint,
            partial(self._migrate, service, creation, making),
            port=port,
            on_wait=making.say,
        )
        if template.note:
            creation.notes.append(template.note)
        atomic_write(self._last, fingerprint.encode())
        return self._serve(template, port)

    def _serve(self, template: Template, port: int) -> PostgresServer:
        directory = self._folder / f"pg-{port}"
        directory.mkdir(mode=0o700)
        return PostgresServer.start(
            template,
            binaries=self._postgres_binaries,
            host=self._host,
            directory=directory,
            socket_dir=directory,
            port=port,
            settings=self._service("postgres").settings,
        )

    def _migrate(self, service: Service, creation: Creation, making: CellDatabases, access: DatabaseAccess) -> None:
        if service.migrate:
            making.say(f"building the template: {service.migrate}")
            making.await_environment()
            environ = creation.environ_with({"postgres": access})
            run_migration(service.migrate, launcher=self._launcher, cwd=creation.tree, env=environ)

    def _redis(self, creation: Creation) -> tuple[Server, DatabaseAccess]:
        service = self._service("redis")
        directory = self._folder / f"redis-{creation.row['id']}"[:60]
        directory.mkdir(mode=0o700, exist_ok=True)
        server = RedisServer.start(
            self._redis_binary,
            launcher=self._launcher,
            directory=directory,
            port=self._lease_port("redis"),
            password=generate_password(),
            settings=service.settings,
        )
        return server, server.create_database("0", owner=f"{self._leases.owner} {creation.row['id']}")

    @property
    def _cache(self) -> TemplateCache:
        assert self._templates is not None
        return self._templates

    def _service(self, engine: str) -> Service:
        return self._project.settings.services.named()[engine]

    def _lease_port(self, name: str) -> int:
        span = port_range(self._project.settings.ports.servers)
        return lease_block(self._leases, span, (name,))[name]
