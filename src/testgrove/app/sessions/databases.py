"""What a session's broker lends: of each engine that the project declares, wherever its server runs."""

from __future__ import annotations

import hashlib
import secrets
import socket
import sqlite3
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import cache, partial
from pathlib import Path

from testgrove.app.databases.engines import RunMeans
from testgrove.app.providers.embedded_server import start_server
from testgrove.app.providers.migrations import migration_lenders
from testgrove.app.providers.pools import given_pool, own_pool
from testgrove.app.providers.shares import Lender, RedisInstances, SqliteCopies
from testgrove.app.sessions.migration import Migration
from testgrove.core.model import DatabaseAccess
from testgrove.core.server_url import parse_server_url
from testgrove.core.settings.types import Service, Sqlite
from testgrove.errors import TestgroveError, UsageError
from testgrove.services.binaries import find_postgres
from testgrove.services.broker import Share
from testgrove.services.engines.postgres.external import GivenPostgres
from testgrove.services.engines.postgres.server import ENCODING, LOCALE, PostgresServer
from testgrove.services.engines.postgres.template_cache import TemplateCache
from testgrove.services.engines.sqlite.files import SqliteTemplates


class SessionDatabases:
    """The databases for a session's tests. Servers are started on the first request. Call stop() at the end."""

    def __init__(self, means: RunMeans, migration: Migration) -> None:
        self._means, self._migration = means, migration
        self._owner = f"session on {socket.gethostname()}"
        self._servers: list[SessionPostgres | SessionGiven] = []

    def lenders(self) -> dict[str, Lender]:
        """By engine."""
        services, found = self._means.project.settings.services, dict[str, Lender]()
        if services.postgres:
            found["postgres"] = self._postgres(services.postgres)
        if services.redis:
            own = services.redis.host == "embedded"
            found["redis"] = RedisInstances(self._means, services.redis) if own else Elsewhere("redis", "redis_url")
        if services.sqlite:
            copy = session_sqlite(self._means, services.sqlite, self._migration)
            found["sqlite"] = SqliteCopies(copy, self._means.folder / "sqlite")
        return found | migration_lenders(self._means, services, self._migration.tree, self._migration.environ)

    def _postgres(self, service: Service) -> Lender:
        means = self._means
        if service.isolation == "none":
            return Elsewhere("postgres", "database_url")
        if service.host == "embedded":
            own = SessionPostgres(means, service, self._migration)
            self._servers.append(own)
            return own_pool(lambda: own.server, means.folder, self._owner)
        given = SessionGiven(means, service, self._migration)
        self._servers.append(given)
        return given_pool(given.find, means.leases, self._owner)

    def stop(self) -> None:
        """Every share is closed: stop what was started, let go of what was not ours."""
        for server in self._servers:
            server.stop()


class Elsewhere:
    """Provider that refuses: all tests share this database. fixture: the one to use instead."""

    def __init__(self, engine: str, fixture: str) -> None:
        self._engine, self._fixture = engine, fixture

    def open(self) -> Share:
        """Raises UsageError (``not-lent``)."""
        raise UsageError(
            "not-lent",
            f"[services.{self._engine}] configures a server or database that all tests share",
            hint=f"set host = 'embedded', or run `testgrove test` and use the fixture {self._fixture}",
        )

    def close(self) -> None:
        """Nothing."""


def session_sqlite(means: RunMeans, service: Sqlite, migration: Migration) -> Callable[[Path], DatabaseAccess]:
    """Return a function that writes a migrated file to a path. The migration's files are read once per session."""
    project = means.project
    templates = SqliteTemplates(project.locations.cache / "sqlite", means.holder.locks, fresh=project.fresh_templates)
    wanted = cache(lambda: migration.fingerprint(service, engine=f"sqlite {sqlite3.sqlite_version}"))
    build = partial(migration.run, service.migrate)
    return lambda path: templates.place(path, wanted(), build)


class SessionPostgres:
    """The session's server, started with the first request on a template of this tree."""

    def __init__(self, means: RunMeans, service: Service, migration: Migration) -> None:
        self._means, self._service, self._migration = means, service, migration
        self._started: PostgresServer | None = None

    @property
    def server(self) -> PostgresServer:
        """The server; the first look starts it, and one after its end another. Raises PreconditionError,
        UnavailableError, ExhaustedError."""
        if self._started is None or not self._started.alive:
            self.stop()
            self._started = self._start()
        return self._started

    def _start(self) -> PostgresServer:
        means, service = self._means, self._service
        binaries = find_postgres(service.version, service.extensions)
        cache = TemplateCache(
            means.project.locations.cache / "templates",
            means.holder.locks,
            binaries=binaries,
            host=means.host,
            work=means.folder,
            extensions=service.extensions,
            settings=service.settings,
            fresh=means.project.fresh_templates,
        )
        wanted = self._migration.fingerprint(
            service,
            engine=f"postgres {binaries.version} {binaries.build}",
            encoding=ENCODING,
            locale=LOCALE,
            extensions=service.extensions,
            settings=service.settings,
        )
        build = partial(self._migration.run, service.migrate)
        template = cache.ensure(wanted, build, on_port=partial(means.ports.start, "postgres"))
        return start_server(means, service, binaries, template)

    def stop(self) -> None:
        """Stop the server, if it was started."""
        if self._started is not None:
            self._started.stop()


class SessionGiven:
    """An external server in a session: connects on the first request."""

    def __init__(self, means: RunMeans, service: Service, migration: Migration) -> None:
        self._means, self._service, self._migration = means, service, migration
        self._opened: GivenPostgres | None = None
        self._fresh = ""  # a template reserved for this session

    def find(self) -> tuple[GivenPostgres, str]:
        """The server, and the template on it, built if need be. Raises PreconditionError, UnavailableError."""
        means, service = self._means, self._service
        url = parse_server_url("postgres", service.host)
        server = GivenPostgres(url, version=service.version, extensions=service.extensions)
        server.open()
        self._opened = server
        # Beside what this session waits for: what dead ones have left there, on whatever machine they were.
        threading.Thread(target=self._sweep, args=(server,), name="sweep", daemon=True).start()
        wanted = self._migration.fingerprint(service, engine=server.identity, extensions=service.extensions)
        if alone := means.project.fresh_templates and bool(service.migrate):
            wanted = hashlib.sha256(f"{wanted} {secrets.token_hex(8)}".encode()).hexdigest()[:32]
        template = server.ensure_template(wanted, partial(self._migration.run, service.migrate), leases=means.leases)
        self._fresh = template if alone else ""
        return server, template

    @staticmethod
    def _sweep(server: GivenPostgres) -> None:
        with suppress(TestgroveError):  # no owner is left; the next session retries
            server.sweep()

    def stop(self) -> None:
        """Let go of the server; what is left there is the leases' to name."""
        if self._opened is None:
            return
        if self._fresh:
            with suppress(TestgroveError):  # the next builder's trim, or a clean-up, takes it away
                self._opened.drop_template(self._fresh)
        self._opened.close()
