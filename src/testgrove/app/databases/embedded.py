"""A run's databases on its own servers: one PostgreSQL for each template, one Redis for each cell."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from testgrove.app.databases.cell import CellDatabases
from testgrove.app.databases.engines import Made, RunMeans
from testgrove.app.databases.migration import fingerprint, migration
from testgrove.app.providers.embedded_server import start_server
from testgrove.app.providers.shares import Lender, RedisInstances
from testgrove.app.worktrees.workspace import Workspace
from testgrove.core.naming import database_name
from testgrove.core.settings.types import Service
from testgrove.errors import TestgroveError
from testgrove.services.base import Holding, generate_password
from testgrove.services.binaries import PostgresBinaries, RedisBinary, find_postgres, find_redis
from testgrove.services.engines.postgres.server import ENCODING, LOCALE, PostgresServer, Template, require_driver
from testgrove.services.engines.postgres.template_cache import TemplateCache
from testgrove.services.engines.redis.server import RedisServer
from testgrove.system.files import atomic_write

_PATIENCE = 0.1  # seconds between two looks whether waiting still makes sense


class EmbeddedPostgres:
    """PostgreSQL databases for cells, on embedded servers of the run."""

    note = ""

    def __init__(self, means: RunMeans, service: Service) -> None:
        self._means, self._service = means, service
        self._binaries: PostgresBinaries
        self._cache: TemplateCache
        where = means.project.locations.cache / "templates"
        # Of each version, where there are several: another one's template is of no use to these binaries.
        self._last = where / f"{means.project.id}{service.version and f'-{service.version}'}.last"
        self._ahead = threading.Thread(target=self._start_likely, name="ahead")
        self._servers: dict[str, PostgresServer] = {}
        self._lost: list[PostgresServer] = []  # killed, and replaced by another one
        self._locks: dict[str, threading.Lock] = {}
        self._guard = threading.Lock()

    def find(self) -> None:
        """Find the binaries. Raises PreconditionError where there are none."""
        require_driver()
        service, means = self._service, self._means
        self._binaries = find_postgres(service.version, service.extensions)
        # One for the run: it knows which template could not be built, and does not try for each cell.
        self._cache = TemplateCache(
            means.project.locations.cache / "templates",
            means.holder.locks,
            binaries=self._binaries,
            host=means.host,
            work=means.folder,
            extensions=service.extensions,
            settings=service.settings,
            fresh=means.project.fresh_templates,
        )

    def start_ahead(self) -> None:
        """Start the server of the project's last run in advance: this run usually needs the same one."""
        self._ahead.start()

    def _start_likely(self) -> None:
        with suppress(TestgroveError, OSError):  # the cell that needs the server starts it again, and reports the error
            likely = self._last.read_text()
            if template := self._cache.find(likely):
                with self._lock(likely):
                    if likely not in self._servers:
                        self._servers[likely] = self._serve(template)

    def maker(self, creation: Workspace, making: CellDatabases) -> Callable[[], Made]:
        """PostgreSQL databases for cells, on embedded servers of the run."""
        service = self._service
        wanted = fingerprint(
            service,
            creation,
            engine=f"postgres {self._binaries.version} {self._binaries.build}",
            encoding=ENCODING,
            locale=LOCALE,
            extensions=service.extensions,
            settings=service.settings,
        )
        return partial(self._make, wanted, creation, making)

    def _make(self, wanted: str, creation: Workspace, making: CellDatabases) -> Made:
        lock = self._lock(wanted)
        while not lock.acquire(timeout=_PATIENCE):
            making.say("its server, which is being started")
        try:
            server = self._servers.get(wanted)
            if server is None:
                server = self._servers[wanted] = self._start(wanted, creation, making)
            elif not server.alive:
                server = self._replace(wanted)
        finally:
            lock.release()
        making.check()
        name = database_name(creation.spec.id)
        return server, server.create_database(name, owner=self._means.owner_of(creation))

    def _lock(self, wanted: str) -> threading.Lock:
        with self._guard:
            return self._locks.setdefault(wanted, threading.Lock())

    def _start(self, wanted: str, creation: Workspace, making: CellDatabases) -> PostgresServer:
        template = self._cache.ensure(
            wanted,
            migration(self._service.migrate, self._means.launcher, creation, making),
            on_port=partial(self._means.ports.start, "postgres"),
            on_wait=making.say,
        )
        if template.note:
            creation.notes.append(template.note)
        atomic_write(self._last, wanted.encode())
        return self._serve(template)

    def _serve(self, template: Template) -> PostgresServer:
        return start_server(self._means, self._service, self._binaries, template)

    def lender(self, held: Holding | None, owner: str) -> Lender | None:
        """Implement EngineDatabases."""
        from testgrove.app.providers.pools import own_pool  # noqa: PLC0415 - only where a suite runs

        assert isinstance(held, PostgresServer)
        return own_pool(partial(self._living, held), self._means.folder, owner)

    def _living(self, held: PostgresServer) -> PostgresServer:
        """A cell's server or, where that was killed, another one on the same template. Raises TestgroveError."""
        wanted = next(name for name, server in self._servers.items() if server.template.path == held.template.path)
        with self._lock(wanted):
            server = self._servers[wanted]
            return server if server.alive else self._replace(wanted)

    def _replace(self, wanted: str) -> PostgresServer:
        lost = self._servers[wanted]
        self._servers[wanted] = self._serve(lost.template)
        self._lost.append(lost)
        return self._servers[wanted]

    def close(self) -> None:
        """Stop the servers."""
        if self._ahead.ident is not None:
            self._ahead.join()
        for server in (*self._servers.values(), *self._lost):
            server.stop()


class EmbeddedRedis:
    """Redis for cells: an embedded instance for each cell, stopped with the cell."""

    note = ""

    def __init__(self, means: RunMeans, service: Service) -> None:
        self._means, self._service = means, service
        self._binary: RedisBinary

    def find(self) -> None:
        """Find the binary. Raises PreconditionError where there is none."""
        self._binary = find_redis(self._means.launcher, self._service.version)

    def start_ahead(self) -> None:
        """Nothing: an instance starts in 16 ms."""

    def maker(self, creation: Workspace, making: CellDatabases) -> Callable[[], Made]:  # noqa: ARG002 - nothing to wait for
        """PostgreSQL databases for cells, on embedded servers of the run."""
        return partial(self._make, creation)

    def _make(self, creation: Workspace) -> Made:
        directory = self._means.folder / f"redis-{creation.spec.id}"[:60]
        directory.mkdir(mode=0o700, exist_ok=True)

        def start(port: int) -> RedisServer:
            return RedisServer.start(
                self._binary,
                launcher=self._means.launcher,
                directory=directory,
                port=port,
                password=generate_password(),
                settings=self._service.settings,
            )

        server = self._means.ports.start("redis", start)
        return server, server.create_database("0", owner=self._means.owner_of(creation))

    def lender(self, held: Holding | None, owner: str) -> Lender | None:  # noqa: ARG002 - each client gets an instance
        """Implement EngineDatabases."""
        return RedisInstances(self._means, self._service)

    def close(self) -> None:
        """Nothing: RunDatabases stops what cells still hold."""
