"""PostgreSQL's implementation; see engines.protocols. Its parts are imported when they are needed."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from testgrove.errors import PreconditionError, TestgroveError
from testgrove.services.engines.lazy_method import LazyMethod
from testgrove.services.engines.postgres.lazy_pool import LEAST, MOST, LazyPool
from testgrove.services.engines.postgres.roles import settings_of
from testgrove.services.provider import Allocator
from testgrove.system.files import free_bytes
from testgrove.system.machine import available_memory
from testgrove.system.processes.process import scrubbed

if TYPE_CHECKING:
    from collections.abc import Callable

    from testgrove.core.model import DatabaseAccess
    from testgrove.core.settings.types import Service
    from testgrove.services.base import Launcher
    from testgrove.services.engines.postgres.installation import Installation
    from testgrove.services.engines.postgres.pool import Pool
    from testgrove.services.engines.postgres.server import PostgresServer
    from testgrove.services.hosts.embedded import EmbeddedHost

_HERE = "testgrove.services.engines.postgres"
_DUMP_TIMEOUT = 600.0  # seconds for writing a dump, or for reading one
_LOCKED = 5000  # milliseconds that a dump waits for a lock which the test has left
_PROGRAMS = ("psql", "pg_dump", "pg_restore", "createdb", "dropdb", "pg_isready")


class Postgres:
    """PostgreSQL: implements SharedServer, External, Schemas and Dumps of protocols."""

    require = LazyMethod(f"{_HERE}.server:require_driver")
    prepare = LazyMethod(f"{_HERE}.sql:load_driver")
    persistent = LazyMethod(f"{_HERE}.persistent:PersistentPostgres.read")
    recreated = LazyMethod(f"{_HERE}.external:recreated")
    read_schema = LazyMethod(f"{_HERE}.schema:read")
    is_untouched = LazyMethod(f"{_HERE}.schema:is_untouched")
    delete_rows = LazyMethod(f"{_HERE}.schema:delete_rows")
    check_connection = LazyMethod(f"{_HERE}.external_session:check_connection")
    execute = LazyMethod(f"{_HERE}.sql:execute_script")
    drop_leased = LazyMethod(f"{_HERE}.external:drop_leased")
    external = LazyMethod(f"{_HERE}.external:server_at")
    lease_by_mark = LazyMethod(f"{_HERE}.external:lease_of")

    def find(self, host: EmbeddedHost, service: Service) -> Installation:
        """Implement SharedServer."""
        from testgrove.services.engines.postgres.binaries import find_postgres  # noqa: PLC0415 - only where it is embedded
        from testgrove.services.engines.postgres.installation import Installation  # noqa: PLC0415 - only where it is embedded

        self.require()
        binaries = find_postgres(service.version, service.extensions)
        return Installation(binaries, host, service.extensions, settings_of(service))

    def pool(self, find: Callable[[], PostgresServer], folder: Path, owner: str) -> Allocator:
        """Implement SharedServer."""

        def make() -> Pool:
            from testgrove.services.engines.postgres.pool import Pool  # noqa: PLC0415 - most suites never ask for one

            server = find()
            size = max(server.template_size(), 1 << 20)  # half of what is free is for databases
            limit = min(free_bytes(folder), available_memory()) // 2 // size
            return Pool(server, owner=owner, limit=min(MOST, max(LEAST, limit)))

        pool = LazyPool(make)
        return Allocator(pool.open, pool.close)

    def dump(self, access: DatabaseAccess, file: Path, launcher: Launcher, service: Service | None) -> None:
        """Implement Dumps."""
        options = ("--no-password", "--no-owner", "--no-privileges", "--no-comments")
        locks, target = f"--lock-wait-timeout={_LOCKED}", access.url(redacted=True)
        argv = [_dump_program(service), *options, locks, "--file", str(file), target]
        launcher.run(argv, cwd=file.parent, env=scrubbed() | self.client_environ(access), timeout=_DUMP_TIMEOUT)

    def load(self, file: Path, access: DatabaseAccess, launcher: Launcher) -> None:
        """Implement Dumps."""
        quiet = ("--quiet", "--no-psqlrc", "--output=/dev/null")
        (program, target) = self.shell(access.url(redacted=True), None)
        argv = [program, *quiet, "--set=ON_ERROR_STOP=1", "--file", str(file), target]
        launcher.run(argv, cwd=file.parent, env=scrubbed() | self.client_environ(access), timeout=_DUMP_TIMEOUT)

    def shell(self, url: str, service: Service | None) -> tuple[str, ...]:  # noqa: ARG002 - a newer psql speaks to all
        """Implement Engine."""
        if found := shutil.which("psql"):
            return (found, url)
        try:
            program = _newest() / "psql"
        except PreconditionError:
            program = Path()
        if not program.is_file():
            raise PreconditionError("no-client-program", "psql was not found", hint="install it, or put it on PATH")
        return (str(program), url)

    def client_environ(self, access: DatabaseAccess) -> dict[str, str]:
        """Implement Engine."""
        return {"PGPASSWORD": access.password.reveal(), "PGCONNECT_TIMEOUT": "10"}

    def client_programs(self, path: str | None) -> tuple[Path, ...]:
        """Those that a worktree is to have beside its environment's Python, where the PATH has none."""
        if shutil.which("psql", path=path):
            return ()
        try:
            folder = _newest()
        except TestgroveError:
            return ()  # the server is somewhere else
        return tuple(program for name in _PROGRAMS if (program := folder / name).exists())


def _newest() -> Path:
    from testgrove.services.engines.postgres.binaries import find_postgres  # noqa: PLC0415 - most machines have psql

    return find_postgres().bindir


def _dump_program(service: Service | None) -> str:
    """The server's own pg_dump, for an older one refuses a newer server; else the one on PATH."""
    if service is not None and service.is_embedded:
        from testgrove.services.engines.postgres.binaries import find_postgres  # noqa: PLC0415 - few databases are dumped

        program = find_postgres(service.version, service.extensions).bindir / "pg_dump"
        if program.exists():
            return str(program)
    return shutil.which("pg_dump") or "pg_dump"


POSTGRES = Postgres()
