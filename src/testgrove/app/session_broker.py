"""A broker for one test session in any checkout: started by the first test that asks, gone with the session."""

from __future__ import annotations

import os
import secrets
import select
import socket
import sqlite3
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property, partial
from pathlib import Path

from testgrove.app.engine_databases import RunMeans
from testgrove.app.holder import Holder
from testgrove.app.lenders import Lender, LendingBroker, RedisInstances, SqliteCopies
from testgrove.app.migration_lender import migration_lenders
from testgrove.app.pools import LazyPool
from testgrove.app.project import Project
from testgrove.app.undo import undo
from testgrove.core.envfile import parse
from testgrove.core.fingerprint import template_fingerprint
from testgrove.core.model import DatabaseAccess, Lease, LeaseKind, WorktreeId
from testgrove.core.naming import FIXED_VARIABLES
from testgrove.core.settings import Service, Sqlite
from testgrove.core.variables import variables
from testgrove.errors import PreconditionError, UnavailableError, UsageError
from testgrove.services.binaries import find_postgres
from testgrove.services.broker import Share
from testgrove.services.inputs import read_inputs
from testgrove.services.postgres import ENCODING, LOCALE, PostgresServer, require_driver
from testgrove.services.sqlite import SqliteTemplates
from testgrove.services.templates import TemplateCache, run_migration
from testgrove.system.files import explained
from testgrove.system.process import scrubbed

_ANY = WorktreeId("session", "checkout")  # what the project's variables are computed for; no name of it is used
_HINT = "[tool.testgrove.services.{}] in pyproject.toml"  # for a test that asks for another engine


@dataclass(frozen=True)
class Tests:
    """The environment that tests, and migrations, run in. prefix: its folder, None where commands come from PATH;
    installed: changes with what is installed in it, empty where that is not known."""

    __test__ = False  # it is none

    prefix: Path | None
    installed: str


def serve_session(
    project: Project, holder: Holder, session: int, tests: Tests, on_ready: Callable[[Path], object]
) -> None:
    """Hand out databases until a process has ended.

    session: its pid; on_ready: told where the socket is. Raises PreconditionError where the process is gone,
    UsageError where the project declares no database.
    """
    services = project.settings.services
    _check(project)
    try:
        ended = os.pidfd_open(session)
    except ProcessLookupError as error:
        raise PreconditionError("session-gone", f"there is no process {session}") from error
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise UnavailableError("no-pidfd", f"the kernel does not tell when process {session} ends: {why}") from error
    name = f"broker-{secrets.token_hex(3)}"
    scratch, memory = project.locations.scratch / name, project.locations.memory / f"{name}-m"
    cancel = threading.Event()
    means = RunMeans(project, holder, holder.leases, memory, cancel)
    for place in dict.fromkeys((scratch, memory)):
        holder.leases.record(Lease(LeaseKind.DIRECTORY, str(place)))
        with explained("make the broker's folder", place):
            place.mkdir(mode=0o700)
    migration = Migration(means, project.repository.toplevel, tests)
    own = services.postgres is not None and services.postgres.host == "embedded"
    postgres = SessionPostgres(means, services.postgres, migration) if services.postgres and own else None
    broker = LendingBroker(scratch / "broker.sock", _lenders(means, migration, postgres), _HINT)
    try:
        on_ready(broker.path)
        select.select([ended], [], [])
    finally:
        cancel.set()
        broker.close()
        if postgres:
            postgres.stop()
        undo(holder, holder.leases, LeaseKind.DATABASE, LeaseKind.DIRECTORY, LeaseKind.PORTS)
        os.close(ended)


def _check(project: Project) -> None:
    services = project.settings.services
    if not services.engines:
        raise UsageError(
            "no-services",
            f"{project.repository.toplevel} declares no database",
            hint="testgrove init   or, in pyproject.toml: [tool.testgrove.services.postgres]",
        )
    if services.postgres and services.postgres.host == "embedded":
        require_driver()


def _lenders(means: RunMeans, migration: Migration, postgres: SessionPostgres | None) -> dict[str, Lender]:
    services = means.project.settings.services
    lenders: dict[str, Lender] = {engine: Elsewhere(engine) for engine in services.named()}
    if postgres:
        owner = f"session on {socket.gethostname()}"
        lenders["postgres"] = LazyPool(lambda: postgres.server, means.folder, owner)
    if services.redis and services.redis.host == "embedded":
        lenders["redis"] = RedisInstances(means, services.redis)
    if services.sqlite:
        lenders["sqlite"] = SqliteCopies(session_sqlite(means, services.sqlite, migration), means.folder / "sqlite")
    return lenders | migration_lenders(means, services, migration.tree, migration.environ)


class Elsewhere:
    """See lenders.Lender. There is nothing to lend on a server that somebody else runs."""

    def __init__(self, engine: str) -> None:
        self._engine = engine

    def open(self) -> Share:
        """Raises UsageError (``not-embedded``)."""
        raise UsageError(
            "not-embedded",
            f"fresh databases for tests need host = 'embedded' in [services.{self._engine}]",
            hint="leave host out there, or use the fixture database_url",
        )

    def close(self) -> None:
        """Nothing."""


class Migration:
    """A service's migration in this checkout, as tests in it would run it. tree: the checkout."""

    def __init__(self, means: RunMeans, tree: Path, tests: Tests) -> None:
        self._means, self.tree, self._tests = means, tree, tests

    def fingerprint(
        self,
        service: Service | Sqlite,
        *,
        engine: str,
        encoding: str = "",
        locale: str = "",
        extensions: tuple[str, ...] = (),
        settings: Mapping[str, str] | None = None,
    ) -> str:
        """The template's that the files, as they are now, ask for. engine: with its version."""
        return template_fingerprint(
            engine=engine,
            encoding=encoding,
            locale=locale,
            extensions=extensions,
            settings=settings or {},
            migrate=service.migrate,
            # Without knowing what is installed, a template of another session may be stale.
            tool=(self._tests.installed or secrets.token_hex()) if service.migrate else "",
            inputs=read_inputs(self.tree, service.inputs) if service.migrate else (),
        )

    def run(self, command: str, access: DatabaseAccess) -> None:
        """Bring an empty database up to date."""
        if command:
            run_migration(command, launcher=self._means.launcher, cwd=self.tree, env=self.environ(access))

    def environ(self, access: DatabaseAccess) -> dict[str, str]:
        """As tests in this checkout see it: their environment is active, the worktree's variables are set, but for a
        database's, which are those of one."""
        project = self._means.project
        env_file = self.tree / project.settings.env_file
        own = parse(env_file.read_text(encoding="utf-8")) if env_file.is_file() else {}
        values = variables(_ANY, ports={}, databases={access.engine: access}, settings=project.settings)
        ours = {name: value for name, value in values.items() if name not in FIXED_VARIABLES}
        return _activated(scrubbed(), self._tests.prefix) | own | ours


def session_sqlite(means: RunMeans, service: Sqlite, migration: Migration) -> Callable[[Path], DatabaseAccess]:
    """What puts a migrated file at a path. The files that the migration reads are looked at once for a session."""
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

    @cached_property
    def server(self) -> PostgresServer:
        """The server; the first look starts it. Raises PreconditionError, UnavailableError, ExhaustedError."""
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
        port = means.lease_port("postgres")
        template = cache.ensure(wanted, partial(self._migration.run, service.migrate), port=port)
        directory = means.folder / f"pg-{port}"
        directory.mkdir(mode=0o700)
        self._started = PostgresServer.start(
            template,
            binaries=binaries,
            host=means.host,
            directory=directory,
            socket_dir=directory,
            port=port,
            settings=service.settings,
        )
        return self._started

    def stop(self) -> None:
        """Stop the server, if it was started."""
        if self._started is not None:
            self._started.stop()


def _activated(env: Mapping[str, str], prefix: Path | None) -> dict[str, str]:
    if prefix is None:
        return dict(env)
    own = {"PATH": f"{prefix / 'bin'}{os.pathsep}{env.get('PATH', os.defpath)}"}
    return {**env, **own} | ({"VIRTUAL_ENV": str(prefix)} if (prefix / "pyvenv.cfg").is_file() else {})
