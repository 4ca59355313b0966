"""The databases of a run: servers that it owns, one for each template, and a database of its own for each cell."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from testgrove.app.creation import Creation, MakeDatabases
from testgrove.app.holder import Holder
from testgrove.app.launcher import SupervisedLauncher
from testgrove.app.project import Project
from testgrove.core.config import Service, port_range
from testgrove.core.fingerprint import template_fingerprint
from testgrove.core.model import DatabaseAccess
from testgrove.core.naming import database_name
from testgrove.core.plan import Cell
from testgrove.services.base import Server, generate_password
from testgrove.services.binaries import PostgresBinaries, RedisBinary, find_postgres, find_redis
from testgrove.services.hosts import EmbeddedHost
from testgrove.services.inputs import read_inputs
from testgrove.services.postgres import ENCODING, LOCALE, PostgresServer, Template, require_driver
from testgrove.services.redis import RedisServer
from testgrove.services.templates import TemplateCache, run_migration
from testgrove.system.ports import lease_block
from testgrove.system.store import StoredLeases


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
            self._launcher, ours=(where.memory, where.scratch, where.cache), copies=where.scratch / "binaries"
        )
        self._postgres_binaries: PostgresBinaries
        self._redis_binary: RedisBinary
        self._templates: TemplateCache
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

    def for_cell(self, cell: Cell) -> MakeDatabases | None:
        """What makes a cell's databases; None where its suite asks for none."""
        return partial(self._make, cell) if cell.settings.services else None

    def release(self, cell: Cell) -> None:
        """Take a cell's databases away."""
        for server, name in self._of_cells.pop(cell.key, []):
            server.drop_database(name)

    def close(self) -> None:
        """Stop every server of the run."""
        for held in self._of_cells.values():
            for server, _ in held:
                server.stop()
        for server in self._servers.values():
            server.stop()

    def _make(self, cell: Cell, creation: Creation) -> Mapping[str, DatabaseAccess]:
        makers: dict[str, Callable[[Cell, Creation], tuple[Server, DatabaseAccess]]] = {
            "postgres": self._postgres,
            "redis": self._redis,
        }
        made = {}
        for engine in cell.settings.services:
            creation.on_phase("databases", engine)
            server, access = makers[engine](cell, creation)
            self._of_cells.setdefault(cell.key, []).append((server, access.name))
            made[engine] = access
        return made

    def _postgres(self, cell: Cell, creation: Creation) -> tuple[Server, DatabaseAccess]:
        service = self._project.settings.services.postgres
        assert service is not None
        fingerprint = self._fingerprint(service, creation)
        with self._guard:
            lock = self._locks.setdefault(fingerprint, threading.Lock())
        if not lock.acquire(blocking=False):
            creation.on_phase("databases", "another cell makes the template")
            lock.acquire()
        try:
            server = self._servers.get(fingerprint)
            if server is None:
                server = self._servers[fingerprint] = self._start(service, fingerprint, creation)
        finally:
            lock.release()
        name = database_name(creation.spec.id)
        return server, server.create_database(name, owner=f"{self._leases.owner} {cell.key}")

    def _fingerprint(self, service: Service, creation: Creation) -> str:
        binaries = self._postgres_binaries
        assert creation.record is not None
        return template_fingerprint(
            engine=f"postgres {binaries.version} {binaries.build}",
            encoding=ENCODING,
            locale=LOCALE,
            extensions=service.extensions,
            settings=service.settings,
            migrate=service.migrate,
            tool=creation.record.fingerprint,
            inputs=read_inputs(creation.tree, service.inputs) if service.migrate else (),
        )

    def _start(self, service: Service, fingerprint: str, creation: Creation) -> PostgresServer:
        binaries = self._postgres_binaries
        port = self._lease_port("postgres")
        template: Template = self._templates.ensure(
            fingerprint,
            partial(self._migrate, service, creation),
            port=port,
            on_wait=partial(creation.on_phase, "databases"),
        )
        if template.note:
            creation.notes.append(template.note)
        directory = self._folder / f"pg-{fingerprint[:8]}"
        directory.mkdir(mode=0o700)
        return PostgresServer.start(
            template,
            binaries=binaries,
            host=self._host,
            directory=directory,
            socket_dir=directory,
            port=port,
            settings=service.settings,
        )

    def _migrate(self, service: Service, creation: Creation, access: DatabaseAccess) -> None:
        if service.migrate:
            creation.on_phase("databases", f"building the template: {service.migrate}")
            environ = creation.environ_with({"postgres": access})
            run_migration(service.migrate, launcher=self._launcher, cwd=creation.tree, env=environ)

    def _redis(self, cell: Cell, creation: Creation) -> tuple[Server, DatabaseAccess]:
        service = self._project.settings.services.redis
        assert service is not None
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
        return server, server.create_database("0", owner=f"{self._leases.owner} {cell.key}")

    def _lease_port(self, name: str) -> int:
        span = port_range(self._project.settings.ports.servers)
        return lease_block(self._leases, span, (name,))[name]
