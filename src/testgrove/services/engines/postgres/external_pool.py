"""A pool of clones on an external PostgreSQL server: each is marked, and all are dropped with the pool.

No roles are created there, so a client has no base of its own: its clones are clones of the template. Their names start
with a secret word that one lease names: so the databases of a killed pool are found, marked or not. All connections
of the pool share an advisory lock; a clean-up waits until the last one is closed, because the server continues the
statements of a killed client.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

from testgrove.core.model import Lease, LeaseKind
from testgrove.core.server_url import parse_server_url
from testgrove.services.engines.postgres import external_session
from testgrove.services.engines.postgres import external_sql as sql
from testgrove.services.engines.postgres.pool import ClonePool
from testgrove.services.engines.postgres.pool_roles import AdminConnection, ClientBase
from testgrove.services.engines.postgres.sql import copy_settings, drop_database, reported
from testgrove.services.owner_marks import lock_key

if TYPE_CHECKING:
    from collections.abc import Mapping

    from psycopg import Connection

    from testgrove.core.leases import Leases
    from testgrove.core.model import DatabaseAccess
    from testgrove.services.engines.postgres.external import ExternalPostgres
    from testgrove.services.engines.postgres.reset import Resetter
    from testgrove.services.owner_marks import Mark

_LEFT_BEHIND = 120.0  # seconds that a killed client's last statement may go on on the server


class ExternalPool(ClonePool):
    """Clones of a template of testgrove on an external server.

    owner: the name in the marks. leases: where databases are recorded before they are created.
    """

    resets = False  # that takes a superuser

    def __init__(self, server: ExternalPostgres, template: str, *, owner: str, leases: Leases, limit: int) -> None:
        self._server, self._template, self._leases = server, template, leases
        token = secrets.token_hex(8)
        self._name, self._mark = f"testgrove_pool_{token}", server.mark("run", token, owner)
        data = {"engine": "postgres", "url": server.url.text.reveal(), "pool": self._name}
        self._lease = Lease(LeaseKind.DATABASE, f"{server.url.location} {self._name}", data)
        leases.record(self._lease)
        super().__init__(limit=limit)

    def admin(self) -> AdminConnection:
        """Implement ClonePool."""
        return ExternalAdmin(self._server, self._template, self._name, self._mark)

    def resetter(self, database: str) -> Resetter:
        """Implement ClonePool."""
        raise NotImplementedError(database)

    def close(self) -> None:
        """Drop everything, also what was to be kept. Raises UnavailableError; the lease stays then."""
        super().close()
        drop_pool(self._lease.data)
        self._leases.forget(self._lease)


class ExternalAdmin(AdminConnection):
    """Admin connection to an external server. name: prefix of all names of the pool. mark: of every database."""

    def __init__(self, server: ExternalPostgres, template: str, name: str, mark: Mark) -> None:
        self._server, self._template, self._name, self._mark = server, template, name, mark

    def connect(self) -> Connection[Any]:
        """Implement AdminConnection."""
        connection = external_session.connect(self._server.url)
        connection.execute("SELECT pg_advisory_lock_shared(%s)", (lock_key(f"the pool {self._name}"),))
        return connection

    def create_base(self, name: str) -> ClientBase:
        """Implement AdminConnection. Creates nothing."""
        return ClientBase(
            self._server.access(f"{self._name}_{name}"), None, settings=True, strategy=self._server.strategy
        )

    def access(self, base: ClientBase, number: int) -> DatabaseAccess:
        """Implement AdminConnection."""
        return self._server.access(f"{base.access.name}_{number}")

    def make_clone(self, access: DatabaseAccess, base: ClientBase) -> None:
        """Implement AdminConnection."""
        self._server.keep_alive()  # else a clean-up would take databases made in advance for those of a dead owner
        with self.session(f"clone the database {access.name}") as session:
            sql.create(session, access.name, self._template, base.strategy, self._mark)
            copy_settings(session, self._template, access.name)

    def warm(self, access: DatabaseAccess) -> None:
        """Implement AdminConnection. Does nothing here: the tests need most of the connections of a user's server."""

    def is_spoiled(self, base: ClientBase, *, alone: bool) -> bool:  # noqa: ARG002 - the user's role is never changed
        """Implement AdminConnection."""
        return False

    def drop_base(self, base: ClientBase) -> bool:  # noqa: ARG002 - nothing was created
        """Implement AdminConnection."""
        return True


def drop_pool(data: Mapping[str, Any]) -> str:
    """Drop every database of the pool that a lease's data name. Idempotent.

    Raises UnavailableError when the server does not answer, or when another role is connected to one.
    """
    url, name = parse_server_url("postgres", data["url"]), str(data["pool"])
    with (
        reported(f"use {url.location}"),
        external_session.connect(url) as session,
        sql.locked(session, f"the pool {name}", timeout=_LEFT_BEHIND),
    ):
        for found in sql.find_all(session):
            if found.name.startswith(f"{name}_"):
                drop_database(session, found.name, 0.0)
    return ""


def room(server: ExternalPostgres, *, least: int, most: int) -> int:
    """Return how many databases a pool may have at once: half as many as there are connections left on the server."""
    with reported(f"use {server.url.location}"), external_session.connect(server.url) as session:
        found = session.execute(
            "SELECT current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int"
            " - (SELECT count(*) FROM pg_stat_activity)"
        ).fetchone()
    (left,) = found or (0,)
    return max(least, min(most, left // 2))
