"""PostgreSQL under a project's keeper: one server for all worktrees that outlive a command, its data on disk.

Its templates are databases on the server itself. The first comes with the data directory, where a run has packed one.
"""

from __future__ import annotations

import json
import re
import signal
from dataclasses import replace
from typing import TYPE_CHECKING

from testgrove.core.frozen import frozen
from testgrove.core.model import DatabaseAccess
from testgrove.core.secret import Secret
from testgrove.errors import PreconditionError
from testgrove.services.base import Endpoint
from testgrove.services.engines.postgres import persistent_templates, sql
from testgrove.services.engines.postgres.server import EMPTY, Databases, Template
from testgrove.services.keeper.service import PersistentService
from testgrove.system.files import atomic_write

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


_ACCESS = "access.json"
_KEY = 16  # characters of a fingerprint in a template's name
# Unlike a run's server: what was committed outlives a kill -9, and tables that grow for days are looked after.
PERSISTENT_SETTINGS = {"synchronous_commit": "on", "autovacuum": "on"}
_READY = r"PID\n(?:.*\n){6}ready"


@frozen
class PersistentPostgres(Databases):
    """The server in a service's folder."""

    endpoint: Endpoint
    folder: Path

    @classmethod
    def read(cls, folder: Path) -> PersistentPostgres | None:
        """The server in a folder; None where initialize() did not come to its end."""
        try:
            values = json.loads((folder / _ACCESS).read_text())
            PersistentService.read(folder)
        except (OSError, ValueError, LookupError, PreconditionError):
            return None
        return cls(Endpoint(**values | {"password": Secret(values["password"])}), folder)

    def write(self, argv: tuple[str, ...], user: tuple[int, int] | None) -> None:
        """Describe it in its folder, for the keeper to start. argv: its command line."""
        at = self.endpoint
        values = vars(at) | {"password": at.password.reveal()}
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

    def move(self, port: int) -> PersistentPostgres:
        """The same server on another port, from its next start on."""
        service = PersistentService.read(self.folder)
        argv = tuple(re.sub(r"^port=\d+$", f"port={port}", word) for word in service.argv)
        moved = self.at_port(port)
        moved.write(argv, service.user)
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
            try:
                build(access)
                note = sql.seal(self.endpoint, access, name)
            except BaseException:
                self.drop_database(role)
                raise
        persistent_templates.note_use(self.endpoint, name)
        persistent_templates.trim(self.endpoint)
        return Template(self.folder, name, role, self.endpoint.password), note

    def create_empty(
        self, name: str, *, owner: str, extensions: tuple[str, ...] = (), password: Secret | None = None
    ) -> DatabaseAccess:
        """An empty database, with a role of its name."""
        if extensions:
            sql.add_extensions(sql.connect(self.endpoint, EMPTY), extensions)
        empty = Template(self.folder, EMPTY, "", self.endpoint.password)
        return self.clone(empty, name, owner=owner, password=password)
