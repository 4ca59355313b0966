"""PostgreSQL, embedded: a server that a run owns, and the databases on it."""

from __future__ import annotations

import importlib.util
import re
import signal
import time
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING

from testgrove.core.frozen import frozen
from testgrove.core.model import DatabaseAccess
from testgrove.core.secret import Secret
from testgrove.errors import PreconditionError, UsageError
from testgrove.services.base import Endpoint, generate_password
from testgrove.services.engines.postgres import sql
from testgrove.system.files import explained

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from testgrove.services.base import RunningProcess

ENCODING = "UTF8"
LOCALE = "C.UTF-8"
SUPERUSER = "postgres"
EMPTY = "template1"
_SETTINGS = {
    # Nothing is to survive a crash.
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "wal_init_zero": "off",
    "max_wal_size": "256MB",
    "min_wal_size": "32MB",
    # Many databases at once, each with a suite's connections and tables.
    "max_connections": "300",
    "max_locks_per_transaction": "256",
    "shared_buffers": "128MB",
    # Templates are ANALYZEd; a worker that comes by would only change plans in the middle of a suite.
    "autovacuum": "off",
    # In files of the data directory: files in /dev/shm outlive a killed server.
    "dynamic_shared_memory_type": "mmap",
    "lc_messages": "C",
}
_OURS = frozenset(("port", "listen_addresses", "unix_socket_directories", "data_directory", "hba_file", "ident_file"))


@frozen
class Template:
    """A packed data directory with a database to clone.

    role: owner of the objects in it, if any. password: the superuser's. last: folders of databases that a start does
    not need yet. note: a message for the user about its build."""

    path: Path
    database: str
    role: str
    password: Secret
    last: tuple[str, ...] = ()
    note: str = ""

    @property
    def is_migrated(self) -> bool:
        """Whether it is more than what initdb makes."""
        return self.database != EMPTY


def server_settings(overrides: Mapping[str, str]) -> dict[str, str]:
    """Our settings, changed by a project's. Raises UsageError (``invalid-setting``)."""
    for name in overrides:
        if name in _OURS or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.]*", name):
            why = "testgrove sets it" if name in _OURS else "invalid name"
            raise UsageError("invalid-setting", f"cannot set the PostgreSQL setting '{name}': {why}")
    settings = _SETTINGS | dict(overrides)
    if settings["wal_level"] != "minimal" and "max_wal_senders" not in overrides:
        del settings["max_wal_senders"]  # logical decoding also needs senders
    return settings


def require_driver() -> None:
    """Raise PreconditionError (``no-driver``) where psycopg is not installed."""
    if importlib.util.find_spec("psycopg") is None:
        raise PreconditionError(
            "no-driver",
            "PostgreSQL requires the driver psycopg, which is not installed",
            hint=sql.DRIVER_HINT,
        )


@frozen
class PostgresProgram:
    """The program ``postgres`` on a data directory."""

    bindir: Path
    data: Path
    endpoint: Endpoint
    settings: Mapping[str, str]
    unpacked: Future[None] | None = None  # no client can connect before

    @property
    def what(self) -> str:
        """Its name in messages."""
        return f"PostgreSQL {self.endpoint.version}"

    @property
    def port(self) -> int:
        """The TCP port it is to listen on."""
        return self.endpoint.port

    def argv(self) -> Sequence[str]:
        """Return the command line; a project's settings cannot change testgrove's own."""
        ours = {
            "listen_addresses": self.endpoint.host,
            "port": str(self.port),
            "unix_socket_directories": self.endpoint.socket_dir,
            "unix_socket_permissions": "0700",
        }
        options = (part for name, value in {**self.settings, **ours}.items() for part in ("-c", f"{name}={value}"))
        return (str(self.bindir / "postgres"), "-D", str(self.data), *options)

    def is_ready(self, pid: int) -> bool:
        """Return whether the server that pid is accepts our password.

        It writes "ready" after it has bound its port, and ends when it could not: so the listener is this
        process.
        """
        sql.load_driver()  # takes as long as the server's start, and runs at the same time
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        if len(lines) < 8 or lines[0] != str(pid) or lines[7].strip() != "ready":
            return False
        if self.unpacked:
            with explained("unpack the template into", self.data):
                self.unpacked.result()
        sql.connect(self.endpoint).close()
        return True


class Databases:
    """The databases on a server of testgrove. Safe to use from several threads: each call opens its own connections."""

    endpoint: Endpoint

    def access(self, name: str, password: Secret) -> DatabaseAccess:
        """Return how to connect to the database of that name, as the role of the same name."""
        at = self.endpoint
        return DatabaseAccess("postgres", name, at.host, at.port, name, password, at.socket_dir)

    def clone(self, template: Template, name: str, *, owner: str, password: Secret | None = None) -> DatabaseAccess:
        """Clone a template for a new role, which has the database's name and owns everything in it.

        Raises PreconditionError (``database-exists``); UnavailableError or ExhaustedError for errors of the server.
        """
        access = self.access(name, password or generate_password())
        with sql.connect(self.endpoint) as admin:
            sql.create_database(admin, self.endpoint, access, template, owner)
        return access

    def drop_database(self, name: str) -> None:
        """Drop the role of that name and every database it owns; wait for clients that are about to leave."""
        with sql.connect(self.endpoint) as admin:
            sql.drop_role_and_databases(admin, name)


class PostgresServer(Databases):
    """A running PostgreSQL that a run owns, and the template that its databases are cloned from."""

    def __init__(self, endpoint: Endpoint, template: Template, process: RunningProcess) -> None:
        self.endpoint = endpoint
        self.template = template
        self._process: RunningProcess | None = process

    def create_database(self, name: str, *, owner: str) -> DatabaseAccess:
        """Clone the server's template; see clone()."""
        return self.clone(self.template, name, owner=owner)

    def template_size(self) -> int:
        """Bytes of a clone, about."""
        with sql.connect(self.endpoint) as admin, sql.reported("measure the template"):
            found = admin.execute("SELECT pg_database_size(%s)", (self.template.database,)).fetchone()
        return int(found[0]) if found else 1 << 24

    def further_databases(self, name: str) -> list[str]:
        """Return the other databases that the role of that database created. Raises UnavailableError."""
        with sql.connect(self.endpoint) as admin:
            return sql.further_databases(admin, name)

    @property
    def alive(self) -> bool:
        """Return whether its process exists and is no zombie: its supervisor cleans up before it reports the end."""
        return self._process is not None and self._process.poll() is None and not _is_over(self._process.pid)

    def outlives(self, seconds: float) -> bool:
        """Return whether it is alive after that time. A killed server does not answer, but exists until its memory is
        freed."""
        deadline = time.monotonic() + seconds
        while self.alive and time.monotonic() < deadline:
            time.sleep(0.005)
        return self.alive

    def stop(self, *, clean: bool = False) -> None:
        """End the server. clean: with a checkpoint, for data that is kept."""
        if self._process is None:
            return
        self._process.stop(signal=signal.SIGINT if clean else signal.SIGQUIT, timeout=30 if clean else 5)
        self._process = None


def _is_over(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b") ")[2][:1]
    except OSError:
        return True
    return state in (b"Z", b"X")
