"""A broker for one test session in any checkout: started by the first test that asks, gone with the session."""

from __future__ import annotations

import os
import secrets
import select
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from testgrove.app.engine_databases import RunMeans
from testgrove.app.holder import Holder
from testgrove.app.pools import LazyPool, broker_of
from testgrove.app.project import Project
from testgrove.app.undo import undo
from testgrove.core.envfile import parse
from testgrove.core.fingerprint import template_fingerprint
from testgrove.core.model import DatabaseAccess, Lease, LeaseKind, WorktreeId
from testgrove.core.naming import FIXED_VARIABLES
from testgrove.core.settings import Service
from testgrove.core.variables import variables
from testgrove.errors import PreconditionError, UnavailableError, UsageError
from testgrove.services.binaries import find_postgres
from testgrove.services.inputs import read_inputs
from testgrove.services.postgres import ENCODING, LOCALE, PostgresServer, require_driver
from testgrove.services.templates import TemplateCache, run_migration
from testgrove.system.files import explained
from testgrove.system.process import scrubbed

_ANY = WorktreeId("session", "checkout")  # what the project's variables are computed for; no name of it is used


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
    UsageError where the project has no embedded PostgreSQL.
    """
    service = _service(project)
    require_driver()
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
    postgres = SessionPostgres(means, service, project.repository.toplevel, tests)
    pool = LazyPool(lambda: postgres.server, memory, f"session {session} on {socket.gethostname()}")
    broker = broker_of(pool, scratch / "broker.sock")
    try:
        on_ready(scratch / "broker.sock")
        select.select([ended], [], [])
    finally:
        cancel.set()
        broker.close()
        pool.close()
        postgres.stop()
        undo(holder, holder.leases, LeaseKind.DIRECTORY, LeaseKind.PORTS)
        os.close(ended)


def _service(project: Project) -> Service:
    service = project.settings.services.postgres
    if service is None:
        raise UsageError(
            "no-postgres",
            f"{project.repository.toplevel} declares no PostgreSQL",
            hint="testgrove init   or, in pyproject.toml: [tool.testgrove.services.postgres]",
        )
    if service.host != "embedded":
        raise UsageError(
            "not-embedded",
            "fresh databases for tests need host = 'embedded' in [services.postgres]",
            hint="leave host out there, or use the fixture database_url",
        )
    return service


class SessionPostgres:
    """The session's server, started with the first request on a template of this tree."""

    def __init__(self, means: RunMeans, service: Service, tree: Path, tests: Tests) -> None:
        self._means, self._service = means, service
        self._tree, self._tests = tree, tests
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
        )
        wanted = template_fingerprint(
            engine=f"postgres {binaries.version} {binaries.build}",
            encoding=ENCODING,
            locale=LOCALE,
            extensions=service.extensions,
            settings=service.settings,
            migrate=service.migrate,
            # Without knowing what is installed, a template of another session may be stale.
            tool=(self._tests.installed or secrets.token_hex()) if service.migrate else "",
            inputs=read_inputs(self._tree, service.inputs) if service.migrate else (),
        )
        port = means.lease_port("postgres")
        template = cache.ensure(wanted, self._migrate, port=port)
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

    def _migrate(self, access: DatabaseAccess) -> None:
        if self._service.migrate:
            environ = self._environ({"postgres": access})
            run_migration(self._service.migrate, launcher=self._means.launcher, cwd=self._tree, env=environ)

    def _environ(self, databases: Mapping[str, DatabaseAccess]) -> dict[str, str]:
        """As tests in this checkout see it: their environment is active, the worktree's variables are set."""
        project = self._means.project
        env_file = self._tree / project.settings.env_file
        own = parse(env_file.read_text(encoding="utf-8")) if env_file.is_file() else {}
        values = variables(_ANY, ports={}, databases=databases, settings=project.settings)
        ours = {name: value for name, value in values.items() if name not in FIXED_VARIABLES}
        return _activated(scrubbed(), self._tests.prefix) | own | ours


def _activated(env: Mapping[str, str], prefix: Path | None) -> dict[str, str]:
    if prefix is None:
        return dict(env)
    own = {"PATH": f"{prefix / 'bin'}{os.pathsep}{env.get('PATH', os.defpath)}"}
    return {**env, **own} | ({"VIRTUAL_ENV": str(prefix)} if (prefix / "pyvenv.cfg").is_file() else {})
