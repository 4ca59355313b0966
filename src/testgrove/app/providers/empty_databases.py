"""Empty databases of a command's own, on PostgreSQL or SQLite: nothing is migrated, nothing is left of them."""

from __future__ import annotations

import secrets
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

from testgrove.app.databases.engines import RunMeans
from testgrove.app.holder import Holder
from testgrove.app.project import Project
from testgrove.app.providers.embedded_server import start_server
from testgrove.app.worktrees.undo import undo
from testgrove.core.model import DatabaseAccess, Lease, LeaseKind
from testgrove.core.secret import Secret
from testgrove.core.server_url import parse_server_url
from testgrove.core.settings.types import Service, Sqlite
from testgrove.errors import PreconditionError, TestgroveError, UnavailableError
from testgrove.services.binaries import find_postgres
from testgrove.services.engines.postgres import external_templates, sql
from testgrove.services.engines.postgres.external import GivenPostgres, drop_leased
from testgrove.services.engines.postgres.server import PostgresServer, require_driver
from testgrove.services.engines.postgres.template_cache import TemplateCache
from testgrove.services.engines.sqlite.files import remove_database
from testgrove.system.files import explained

_DYING = 0.5  # seconds that a killed server may take to be gone


class Blanks(Protocol):
    """Empty databases of one engine. Safe to use from several threads."""

    def make(self) -> DatabaseAccess:
        """Return an unused database with the extensions of the settings. Raises TestgroveError."""

    def drop(self, access: DatabaseAccess) -> None:
        """Take it away."""

    def close(self) -> None:
        """Drop what is left, and let go of the server. A second call does nothing."""


@contextmanager
def own_folder(project: Project, holder: Holder, name: str) -> Iterator[RunMeans]:
    """Means whose folder, ports and databases are removed with this command. name: prefix of the folder's name."""
    folder = project.locations.memory / f"{name}-{secrets.token_hex(3)}"
    holder.leases.record(Lease(LeaseKind.DIRECTORY, str(folder)))
    with explained("create the folder", folder):
        folder.mkdir(mode=0o700)
    cancel = threading.Event()
    try:
        yield RunMeans(project, holder, holder.leases, folder, cancel)
    finally:
        cancel.set()
        undo(holder, holder.leases, LeaseKind.DATABASE, LeaseKind.DIRECTORY, LeaseKind.PORTS)


def blanks_of(means: RunMeans, service: Service | Sqlite) -> Blanks:
    """Empty databases where the settings have the engine. Raises PreconditionError (``not-ours``)."""
    if isinstance(service, Sqlite):
        return SqliteBlanks(means.folder)
    if service.host == "embedded":
        return EmbeddedBlanks(means, service)
    if service.isolation == "none":
        raise PreconditionError(
            "not-ours",
            "testgrove creates no databases on a server with isolation = 'none' in [services.postgres]",
            hint="remove `isolation` or `host` from [services.postgres]",
        )
    return GivenBlanks(means, service)


class EmbeddedBlanks:
    """Empty databases on a server of this command. The first database starts it, also after it has stopped."""

    def __init__(self, means: RunMeans, service: Service) -> None:
        self._means, self._service = means, service
        self._server: PostgresServer | None = None
        self._guard = threading.Lock()

    def make(self) -> DatabaseAccess:
        """Implement Blanks."""
        server = self._find()
        try:
            return self._make(server)
        except UnavailableError:
            if server.outlives(_DYING):
                raise
            return self._make(self._find())

    def _find(self) -> PostgresServer:
        with self._guard:
            if self._server is None or not self._server.alive:
                self.close()
                self._server = self._start()
            return self._server

    def _make(self, server: PostgresServer) -> DatabaseAccess:
        name = f"blank_{secrets.token_hex(4)}"
        access = server.create_database(name, owner=f"{self._means.leases.owner} on {socket.gethostname()}")
        sql.own_public_schema(server.endpoint, access)
        return access

    def _start(self) -> PostgresServer:
        require_driver()
        means, service = self._means, self._service
        binaries = find_postgres(service.version, service.extensions)
        cache = TemplateCache(
            means.project.locations.cache / "templates",
            means.holder.locks,
            binaries=binaries,
            host=means.host,
            work=means.folder,
        )
        server = start_server(means, service, binaries, cache.base())
        try:
            sql.add_extensions(server.endpoint, service.extensions)
        except BaseException:
            server.stop()
            raise
        return server

    def drop(self, access: DatabaseAccess) -> None:
        """Implement Blanks."""
        assert self._server is not None
        self._server.drop_database(access.name)

    def close(self) -> None:
        """Implement Blanks."""
        if self._server is not None:
            self._server.stop()


class GivenBlanks:
    """Empty databases on an external server."""

    def __init__(self, means: RunMeans, service: Service) -> None:
        self._means, self._service = means, service
        url = parse_server_url("postgres", service.host)
        self._server = GivenPostgres(url, version=service.version, extensions=service.extensions)
        self._is_open = False
        self._made: dict[str, DatabaseAccess] = {}
        self._guard = threading.Lock()

    def make(self) -> DatabaseAccess:
        """Implement Blanks."""
        with self._guard:
            if not self._is_open:
                require_driver()
                self._server.open()
                self._is_open = True
        access = self._server.create_database(
            f"testgrove_blank_{secrets.token_hex(4)}",
            template="",
            owner=f"{self._means.leases.owner} on {socket.gethostname()}",
            leases=self._means.leases,
        )
        with self._guard:
            self._made[access.name] = access
        external_templates.add_extensions(access, self._service.extensions)
        return access

    def drop(self, access: DatabaseAccess) -> None:
        """Implement Blanks."""
        with self._guard:
            self._made.pop(access.name, None)
        key = f"{self._server.url.place} {access.name}"
        for lease in self._means.leases.all():
            if (lease.kind, lease.key) == (LeaseKind.DATABASE, key):
                drop_leased(lease.data)
                self._means.leases.forget(lease)

    def close(self) -> None:
        """Implement Blanks."""
        if self._is_open:
            for access in list(self._made.values()):
                with suppress(TestgroveError):  # the lease stays, and is undone later
                    self.drop(access)
            self._server.close()
        self._is_open = False


class SqliteBlanks:
    """Empty SQLite files in a folder of this command."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def make(self) -> DatabaseAccess:
        """Implement Blanks."""
        path = self._folder / f"blank-{secrets.token_hex(4)}.sqlite3"
        path.touch()
        return DatabaseAccess("sqlite", str(path), "", 0, "", Secret(""))

    def drop(self, access: DatabaseAccess) -> None:
        """Implement Blanks."""
        remove_database(Path(access.name))

    def close(self) -> None:
        """Implement Blanks."""
