"""PostgreSQL as a host runs it for a service: the servers that are started there."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import field
from typing import TYPE_CHECKING

from testgrove.core.frozen import frozen
from testgrove.services.archive import unpack
from testgrove.services.base import LOOPBACK, Endpoint, generate_password
from testgrove.services.engines.postgres import sql
from testgrove.services.engines.postgres.persistent import PERSISTENT_SETTINGS, PersistentPostgres
from testgrove.services.engines.postgres.server import (
    EMPTY,
    ENCODING,
    LOCALE,
    SUPERUSER,
    PostgresProgram,
    PostgresServer,
    Template,
    require_driver,
    server_settings,
)
from testgrove.services.engines.postgres.template_cache import TemplateCache
from testgrove.services.hosts.embedded import check_socket
from testgrove.services.provider import Traits
from testgrove.services.shared_memory import release_shared_memory
from testgrove.system.deletion import delete_tree
from testgrove.system.files import explained

if TYPE_CHECKING:
    from collections.abc import Mapping
    from concurrent.futures import Future
    from pathlib import Path

    from testgrove.core.secret import Secret
    from testgrove.services.engines.postgres.binaries import PostgresBinaries
    from testgrove.services.hosts.embedded import EmbeddedHost
    from testgrove.system.locks import LockFile


@frozen
class Installation:
    """PostgreSQL's programs on a host; implements protocols.Installation. extensions, settings: a service's."""

    binaries: PostgresBinaries
    host: EmbeddedHost
    extensions: tuple[str, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def major(self) -> int:
        """Implement protocols.Installation."""
        return self.binaries.major

    def traits(self) -> Traits:
        """Implement protocols.Installation."""
        engine = f"postgres {self.binaries.version} {self.binaries.build}"
        return Traits(engine, ENCODING, LOCALE, self.extensions, self.settings)

    def templates(self, directory: Path, locks: LockFile, work: Path, *, fresh: bool = False) -> TemplateCache:
        """Implement protocols.Installation."""
        return TemplateCache(directory, locks, self, work=work, fresh=fresh)

    def start(self, template: Template, port: int, directory: Path) -> PostgresServer:
        """Implement protocols.Installation. If the server does not start, no data is left.

        directory: private, with a short path, without ``data``, in memory for speed. port: leased, on loopback. Raises
        PreconditionError (``port-taken``, ``socket-path-too-long``, ``no-driver``), UnavailableError (``server-died``,
        ``server-not-ready``).
        """
        endpoint, data = self._endpoint(port, template, directory), directory / "data"
        wanted = server_settings(self.settings)
        self.host.grant(directory)
        with explained("unpack the template into", directory):
            rest = unpack(template.path, data, self.host.identity.user, last=template.last)
        pool = ThreadPoolExecutor(1, "unpack")  # during the start, which does not read them
        unpacked = pool.submit(rest)
        pool.shutdown(wait=False)
        program = self._program(data, endpoint, wanted, unpacked)
        try:
            server = PostgresServer(endpoint, template, self.host.start(program, directory=directory))
        except BaseException:
            wait((unpacked,))
            release_shared_memory(data)
            delete_tree(data, within=directory)
            raise
        if not template.is_migrated:
            try:
                if self.extensions:
                    # Into template1, so that a database that a test drops and creates again has them too.
                    sql.add_extensions(sql.connect(endpoint, EMPTY), self.extensions)
            except BaseException:
                server.stop()
                raise
        return server

    def initialize(self, folder: Path, run: Path, template: Template, port: int) -> PersistentPostgres:
        """Implement protocols.Installation. The folder exists and is empty.

        Raises PreconditionError (``no-driver``, ``socket-path-too-long``, ``unreachable``), UsageError.
        """
        endpoint, data = self._endpoint(port, template, run), folder / "data"
        for place in (folder, run):
            self.host.grant(place)
        with explained("unpack the template into", folder):
            unpack(template.path, data, self.host.identity.user, last=template.last)()
        program = self._program(data, endpoint, server_settings({**PERSISTENT_SETTINGS, **self.settings}))
        server = PersistentPostgres(endpoint, folder)
        server.write((*self.host.identity.prefix, *program.argv()), self.host.identity.user)
        return server

    def init_cluster(self, directory: Path) -> tuple[Path, Secret]:
        """initdb into ``directory/data``; return that and the superuser's password."""
        self.host.grant(directory)
        data, password, file = directory / "data", generate_password(), directory / "password"
        file.touch(mode=0o600)
        file.write_text(password.reveal())
        self.host.give(file)
        options = {"pgdata": data, "username": SUPERUSER, "pwfile": file, "encoding": ENCODING, "locale": LOCALE}
        self.host.tool(
            (
                str(self.host.reachable(self.binaries) / "initdb"),
                *(f"--{name}={value}" for name, value in options.items()),
                "--auth=password",
                "--no-sync",
                "--wal-segsize=1",
            ),
            directory=directory,
        )
        file.unlink()
        return data, password

    def _endpoint(self, port: int, template: Template, socket_dir: Path) -> Endpoint:
        require_driver()
        check_socket(socket_dir / f".s.PGSQL.{port}")
        version = self.binaries.version
        return Endpoint("postgres", version, LOOPBACK, port, SUPERUSER, template.password, str(socket_dir))

    def _program(
        self, data: Path, endpoint: Endpoint, settings: Mapping[str, str], unpacked: Future[None] | None = None
    ) -> PostgresProgram:
        return PostgresProgram(self.host.reachable(self.binaries), data, endpoint, settings, unpacked)
