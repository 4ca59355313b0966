"""A PostgreSQL and a Redis that are the user's: started by the test, with databases of the user's in them.

On PostgreSQL testgrove comes as the role ``ci``, which may create databases and nothing more.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from testgrove.services.engines.postgres.binaries import PostgresBinaries
from testgrove.services.engines.redis.binaries import RedisBinary

PASSWORD = "s3cret/of-the@user"
QUOTED = "s3cret%2Fof-the%40user"
_SETTINGS = ("fsync=off", "full_page_writes=off", "autovacuum=off", "listen_addresses=127.0.0.1", "max_connections=60")


@dataclass
class UsersPostgres:
    """A running server. url: as a user would put it into the settings."""

    folder: Path
    port: int
    argv: tuple[str | Path, ...]
    process: subprocess.Popen[bytes] | None = None
    _session: psycopg.Connection[Any] | None = None

    def start(self) -> None:
        """Start it, also again after it was killed, and wait until it answers."""

        def look() -> None:
            # One that was killed has backends that go a moment later; until then another one ends at once.
            if self.process is None or self.process.poll() is not None:
                with (self.folder / "log").open("ab") as log:
                    self.process = subprocess.Popen(self.argv, stdout=log, stderr=log)
            self.sql("SELECT 1")

        wait_until_ready(look, psycopg.Error)

    def stop(self) -> None:
        if self._session:
            self._session.close()
        if self.process:
            self.process.send_signal(signal.SIGINT)
            self.process.wait()

    @property
    def url(self) -> str:
        return f"postgresql://ci:{QUOTED}@127.0.0.1:{self.port}/postgres"

    def sql(self, statement: str, *values: object, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Run one statement as the superuser, from outside of testgrove."""
        if database != "postgres":
            with self._connect(database) as connection:
                return _rows(connection, statement, values)
        if self._session is None or self._session.closed:
            self._session = self._connect("postgres")
        return _rows(self._session, statement, values)

    def _connect(self, database: str) -> psycopg.Connection[Any]:
        return psycopg.connect(host=str(self.folder), port=self.port, user="postgres", dbname=database, autocommit=True)

    def databases(self) -> set[str]:
        return {name for (name,) in self.sql("SELECT datname FROM pg_database")}

    def unsealed(self) -> set[str]:
        """All databases but our sealed templates, which are meant to stay."""
        rows = self.sql(
            "SELECT datname FROM pg_database WHERE datname LIKE 'testgrove_template_%' AND NOT datallowconn"
        )
        return self.databases() - {name for (name,) in rows}

    def templates(self) -> set[str]:
        return {name for name in self.databases() if name.startswith("testgrove_template_")}

    def clear(self, *keep: str) -> None:
        """Drop all that tests and testgrove have made, and end their connections. keep: databases that stay."""
        for name in self.databases() - {"postgres", "template0", "template1", *keep}:
            self.sql(f'DROP DATABASE "{name}" WITH (FORCE)')

    def locks(self) -> int:
        """How many advisory locks anybody holds."""
        return int(self.sql("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")[0][0])


def _rows(connection: psycopg.Connection[Any], statement: str, values: tuple[object, ...]) -> list[tuple[Any, ...]]:
    cursor = connection.execute(statement.encode(), values or None)
    return cursor.fetchall() if cursor.description else []


@contextmanager
def users_postgres(binaries: PostgresBinaries) -> Iterator[UsersPostgres]:
    """Start a server, with its data in memory where there is some."""
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="tg-user-", dir=memory if os.access(memory, os.W_OK) else "/tmp"))
    folder.chmod(0o755)
    # PostgreSQL refuses root, but not one who is seen as somebody else.
    prefix = ("unshare", "--user", "--map-user=1000", "--") if os.geteuid() == 0 else ()
    data, program = folder / "data", binaries.bindir
    words = ("initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8")
    subprocess.run((*prefix, program / words[0], *words[1:]), check=True, capture_output=True)
    (data / "pg_hba.conf").write_text("local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n")
    port = free_port()
    options = [part for setting in (*_SETTINGS, f"port={port}") for part in ("-c", setting)]
    argv = (*prefix, program / "postgres", "-D", data, "-k", folder, *options)
    server = UsersPostgres(folder, port, argv)
    try:
        server.start()
        server.sql(f"CREATE ROLE ci LOGIN CREATEDB PASSWORD '{PASSWORD}'")
        server.sql(f"CREATE ROLE poor LOGIN PASSWORD '{PASSWORD}'")
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder)


@contextmanager
def users_redis(binary: RedisBinary, *options: str) -> Iterator[int]:
    """Start a Redis with a password; its port."""
    port = next(port for port in iter(free_port, 0) if port <= 55535)  # a cluster of Redis 6 also has that + 10000
    words = (
        "--port",
        str(port),
        "--bind",
        "127.0.0.1",
        "--save",
        "",
        "--requirepass",
        PASSWORD,
        "--databases",
        "6",
        *options,
    )
    process = subprocess.Popen((binary.path, *words), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until_ready(lambda: socket.create_connection(("127.0.0.1", port)).close(), OSError)
        yield port
    finally:
        process.kill()
        process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def wait_until_ready(attempt: Any, failure: type[Exception]) -> None:
    deadline = time.monotonic() + 30
    while True:
        with suppress(failure):
            return attempt()
        assert time.monotonic() < deadline, "the server does not answer"
        time.sleep(0.02)
