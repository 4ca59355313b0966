"""PostgreSQL under a project's keeper: one server for all worktrees that outlive a command, its data on disk.

Its templates are databases on the server itself. The first comes with the data directory, where a run has packed one.
"""

from __future__ import annotations

import json
import re
import signal
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from testgrove.core.frozen import frozen
from testgrove.core.model import DatabaseAccess
from testgrove.core.secret import Secret
from testgrove.errors import PreconditionError
from testgrove.services.archive import unpack
from testgrove.services.base import Endpoint, generate_password
from testgrove.services.engines.postgres import persistent_templates, sql
from testgrove.services.engines.postgres.roles import settings_of
from testgrove.services.engines.postgres.server import (
    EMPTY,
    SUPERUSER,
    PostgresProgram,
    Template,
    require_driver,
    server_settings,
)
from testgrove.services.hosts.embedded import check_socket
from testgrove.services.keeper.service import PersistentService
from testgrove.system.files import atomic_write, explained

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from testgrove.core.settings.types import Service
    from testgrove.services.engines.postgres.binaries import PostgresBinaries
    from testgrove.services.hosts.embedded import EmbeddedHost
    from testgrove.services.keeper.client import KeeperClient

_ACCESS = "access.json"
_KEY = 16  # characters of a fingerprint in a template's name
# Unlike a run's server: what was committed outlives a kill -9, and tables that grow for days are looked after.
_SETTINGS = {"synchronous_commit": "on", "autovacuum": "on"}
_READY = r"PID\n(?:.*\n){6}ready"


@frozen
class PersistentPostgres:
    """The server in a service's folder. run: where its socket is."""

    endpoint: Endpoint
    folder: Path

    @classmethod
    def prepare(
        cls,
        folder: Path,
        run: Path,
        *,
        template: Template,
        binaries: PostgresBinaries,
        host: EmbeddedHost,
        port: int,
        settings: Mapping[str, str],
    ) -> PersistentPostgres:
        """Write the data of a new server to an existing, empty folder. template: its initial content.

        Raises PreconditionError (``no-driver``, ``socket-path-too-long``, ``unreachable``), UsageError.
        """
        require_driver()
        check_socket(run / f".s.PGSQL.{port}")
        for place in (folder, run):
            host.grant(place)
        with explained("unpack the template into", folder):
            unpack(template.path, folder / "data", host.identity.user, last=template.last)()
        endpoint = Endpoint("postgres", binaries.version, "127.0.0.1", port, SUPERUSER, template.password, str(run))
        server = cls(endpoint, folder)
        wanted = server_settings(settings)
        wanted |= {name: value for name, value in _SETTINGS.items() if name not in settings}
        program = PostgresProgram(host.reachable(binaries), folder / "data", endpoint, wanted)
        argv = (*host.identity.prefix, *program.argv())
        server._write(argv, host.identity.user)
        return server

    @classmethod
    def read(cls, folder: Path) -> PersistentPostgres | None:
        """The server in a folder; None where prepare() did not come to its end."""
        try:
            values = json.loads((folder / _ACCESS).read_text())
            PersistentService.read(folder)
        except (OSError, ValueError, LookupError, PreconditionError):
            return None
        return cls(Endpoint(**values | {"password": Secret(values["password"])}), folder)

    def _write(self, argv: tuple[str, ...], user: tuple[int, int] | None) -> None:
        at = self.endpoint
        values = {
            "engine": at.engine, "version": at.version, "host": at.host, "port": at.port, "user": at.user,
            "password": at.password.reveal(), "socket_dir": at.socket_dir,
        }  # fmt: skip
        atomic_write(self.folder / _ACCESS, json.dumps(values).encode(), mode=0o600)
        PersistentService(
            name=self.folder.name,
            what=f"PostgreSQL {at.version}",
            argv=argv,
            port=at.port,
            stop_signal=signal.SIGINT,
            user=user,
            stale=("data/postmaster.pid", f"{at.socket_dir}/.s.PGSQL.{at.port}.lock"),
            ready_file="data/postmaster.pid",
            ready=_READY,
            engine="postgres",
        ).write(self.folder)  # last: a folder with it is complete

    def start(self, keeper: KeeperClient) -> None:
        """Have it running. Raises UnavailableError (``port-taken``, ``server-died``, …)."""
        with ThreadPoolExecutor(1, "driver") as pool:
            driver = pool.submit(sql.load_driver)  # takes longer than the server
            keeper.start(self.folder.name)
            driver.result()

    def move(self, port: int) -> PersistentPostgres:
        """The same server on another port, from its next start on."""
        service = PersistentService.read(self.folder)
        argv = tuple(re.sub(r"^port=\d+$", f"port={port}", word) for word in service.argv)
        moved = self.at_port(port)
        moved._write(argv, service.user)
        return moved

    def at_port(self, port: int) -> PersistentPostgres:
        """Return the same server with another port."""
        return PersistentPostgres(replace(self.endpoint, port=port), self.folder)

    def has(self, name: str) -> bool:
        """Return whether there is such a database."""
        with sql.connect(self.endpoint) as admin:
            return admin.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone() is not None

    def template(
        self,
        fingerprint: str,
        build: Callable[[DatabaseAccess], object],
        extensions: tuple[str, ...],
        *,
        fresh: bool = False,
    ) -> tuple[Template, str]:
        """Return the template with this fingerprint, built on this server if needed, and a note about the build.

        build: migrates the empty database that it receives. fresh: replace an existing template. One caller at a
        time. Drops templates above the limit, and those that were not requested for long.
        """
        name, role = f"template_{fingerprint[:_KEY]}", f"building_{fingerprint[:_KEY]}"
        note = ""
        if fresh:
            persistent_templates.drop(self.endpoint, name)
        if not self.has(name):
            with sql.connect(self.endpoint) as admin:
                sql.drop_role_and_databases(admin, role)  # of a build that was killed
            access = self.create_empty(role, owner="a template that is being built", extensions=extensions)
            sql.own_public_schema(self.endpoint, access)
            try:
                build(access)
                note = sql.seal(self.endpoint, access, name)
            except BaseException:
                self.drop(role)
                raise
        persistent_templates.note_use(self.endpoint, name)
        persistent_templates.trim(self.endpoint)
        return Template(self.folder, name, role, self.endpoint.password), note

    def create_empty(
        self, name: str, *, owner: str, extensions: tuple[str, ...] = (), password: Secret | None = None
    ) -> DatabaseAccess:
        """An empty database, with a role of its name."""
        sql.add_extensions(self.endpoint, extensions)
        empty = Template(self.folder, EMPTY, "", self.endpoint.password)
        return self.clone(empty, name, owner=owner, password=password)

    def clone(self, template: Template, name: str, *, owner: str, password: Secret | None = None) -> DatabaseAccess:
        """A database like a template, with a role of its name. Raises PreconditionError (``database-exists``)."""
        access = self.access(name, password or generate_password())
        with sql.connect(self.endpoint) as admin:
            sql.create_database(admin, self.endpoint, access, template, owner)
        return access

    def access(self, name: str, password: Secret) -> DatabaseAccess:
        """Return how the database of that name is reached."""
        at = self.endpoint
        return DatabaseAccess("postgres", name, at.host, at.port, name, password, at.socket_dir)

    def drop(self, name: str) -> None:
        """Drop a role and all databases it owns; nothing to do when there is none."""
        with sql.connect(self.endpoint) as admin:
            sql.drop_role_and_databases(admin, name)


def initialize(folder: Path, run: Path, *, service: Service, **how: Any) -> PersistentPostgres:
    """Implement SharedServer."""
    return PersistentPostgres.prepare(folder, run, settings=settings_of(service), **how)
