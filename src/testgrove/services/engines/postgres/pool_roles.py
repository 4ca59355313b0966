"""A pool's work on its server: a role and a base for each client, clones of it, and taking them away."""

from __future__ import annotations

import select
from abc import ABC, abstractmethod
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, LiteralString

from testgrove.services.engines.postgres import sql
from testgrove.services.engines.postgres.external_session import strategy
from testgrove.services.engines.postgres.reset import APPLICATION
from testgrove.system.machine import lower_priority

if TYPE_CHECKING:
    from collections.abc import Iterator

    from psycopg import Connection

    from testgrove.core.model import DatabaseAccess
    from testgrove.services.engines.postgres.server import PostgresServer

_NICE = 10

# Everything about a role that a test can change for later tests, and the databases that it created.
_ROLE = """
SELECT (SELECT jsonb_agg(line ORDER BY line::text) FROM (
           SELECT to_jsonb(r) AS line
           UNION ALL SELECT to_jsonb(m) FROM pg_auth_members m WHERE r.oid IN (m.roleid, m.member)
           UNION ALL SELECT to_jsonb(s) FROM pg_db_role_setting s WHERE s.setrole = r.oid AND s.setdatabase = 0) lines),
       (SELECT coalesce(array_agg(datname::text), '{}') FROM pg_database WHERE datdba = r.oid AND datname !~ %s)
FROM pg_authid r WHERE r.rolname = %s
"""


@dataclass(frozen=True, eq=False)
class ClientBase:
    """The base of a client's clones.

    access: of the base database, which has the role's name. role: its state. settings: whether the base has settings,
    which CREATE DATABASE does not copy. strategy: the fastest way to clone on this server."""

    access: DatabaseAccess
    role: object
    settings: bool
    strategy: LiteralString


class AdminConnection(ABC):
    """An admin connection to a pool's server, for one thread at a time; opened on first use."""

    _connection: Connection[Any] | None = None

    @abstractmethod
    def connect(self) -> Connection[Any]:
        """Open the connection. Raises UnavailableError."""

    @abstractmethod
    def create_base(self, name: str) -> ClientBase:
        """Create the base of a client's clones. Raises UnavailableError, ExhaustedError."""

    @abstractmethod
    def access(self, base: ClientBase, number: int) -> DatabaseAccess:
        """Return the access of the clone with that number, which need not exist yet."""

    @abstractmethod
    def make_clone(self, access: DatabaseAccess, base: ClientBase) -> None:
        """Make it. Raises UnavailableError, ExhaustedError."""

    @abstractmethod
    def warm(self, access: DatabaseAccess) -> None:
        """Connect to a clone once, so that its catalogs are in memory. Raises UnavailableError, ExhaustedError."""

    @abstractmethod
    def is_spoiled(self, base: ClientBase, *, alone: bool) -> bool:
        """Return whether a test has left something that the next clone of this base would meet.

        alone: the client holds no other clone of it, whose that could be.
        """

    def drop_clone(self, name: str, lingering: float) -> None:
        """Drop a database. lingering: seconds for clients that are about to leave; the others are ended."""
        with self.session(f"drop the database {name}") as session:
            sql.drop_database(session, name, lingering)

    @abstractmethod
    def drop_base(self, base: ClientBase) -> bool:
        """Drop the base; return False while it has clones."""

    def close(self) -> None:
        """Let go of the connection."""
        if self._connection is not None:
            self._connection.close()

    @contextmanager
    def session(self, what: str) -> Iterator[Connection[Any]]:
        """Yield the connection. what: completes "cannot …"."""
        if self._connection is not None and _has_news(self._connection):
            self._connection.close()
        if self._connection is None or self._connection.closed:
            self._connection = self.connect()
        with sql.reported(what):
            yield self._connection


def _has_news(connection: Connection[Any]) -> bool:
    """Return whether a connection between two statements can be read from: the server has ended it, as a rule."""
    if connection.closed:
        return False
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return bool(poll.poll(0))


class EmbeddedAdmin(AdminConnection):
    """An admin connection to a server of testgrove.

    name: prefix of all names of the pool. owner: written on every database as its mark. Its process on the server has
    a lower priority, in favour of tests that connect at the same time.
    """

    def __init__(self, server: PostgresServer, name: str, owner: str) -> None:
        self._server = server
        self._name = name
        self._owner = owner

    def connect(self) -> Connection[Any]:
        """Implement AdminConnection."""
        connection = sql.connect(self._server.endpoint, application=APPLICATION)
        lower_priority(connection.info.backend_pid, _NICE)
        return connection

    def create_base(self, name: str) -> ClientBase:
        """A role, and a base that is wholly its own. Raises UnavailableError, ExhaustedError."""
        access = self._server.create_database(f"{self._name}_{name}", owner=self._owner)
        with self.session(f"create the base {access.name}") as admin:
            # A client connected to the template makes CREATE DATABASE wait for five seconds.
            sql.wait_until_left(admin, access.name, 2.0)
            sql.run(admin, "ALTER DATABASE {} ALLOW_CONNECTIONS false", access.name)
            found = admin.execute(
                "SELECT EXISTS (SELECT FROM pg_db_role_setting WHERE setdatabase = oid) FROM pg_database"
                " WHERE datname = %s",
                (access.name,),
            ).fetchone()
            return ClientBase(access, self._look(admin, access.name)[0], bool(found and found[0]), strategy(admin))

    def access(self, base: ClientBase, number: int) -> DatabaseAccess:
        """Implement AdminConnection."""
        return replace(base.access, name=f"{base.access.name}_{number}")

    def make_clone(self, access: DatabaseAccess, base: ClientBase) -> None:
        """A clone of the base, the role's. Raises UnavailableError, ExhaustedError."""
        from psycopg import sql as parts  # noqa: PLC0415 - heavy, and an extra

        name, template = access.name, base.access.name
        with self.session(f"clone the database {name}") as admin:
            how = parts.SQL(base.strategy)
            sql.run(admin, "CREATE DATABASE {} OWNER {} TEMPLATE {}{}", name, access.user, template, how)
            mark = parts.Literal(f"testgrove: {self._owner}")
            sql.run(admin, "REVOKE ALL ON DATABASE {0} FROM PUBLIC; COMMENT ON DATABASE {0} IS {1}", name, mark)
            if base.settings:
                sql.copy_settings(admin, template, name, role=access.user, to_role=access.user)

    def warm(self, access: DatabaseAccess) -> None:
        """Implement AdminConnection."""
        sql.connect(self._server.endpoint, access.name).close()
        with self.session(f"list the clients of {access.name}") as admin:
            sql.wait_until_left(admin, access.name, 2.0)  # so that a test which lists the connections finds none

    def is_spoiled(self, base: ClientBase, *, alone: bool) -> bool:
        """Return whether a test changed its role or created other databases.

        alone: no other clone of the base is in use that the databases could belong to.
        """
        with self.session("find what a test left behind") as admin:
            role, beside = self._look(admin, base.access.name)
        return role != base.role or (alone and bool(beside))

    def drop_base(self, base: ClientBase) -> bool:
        """Drop a role with its base and the other databases that tests created; return False while it has clones."""
        name = base.access.name
        with self.session(f"drop the role {name}") as admin:
            _, beside = self._look(admin, name)
            clones = admin.execute("SELECT 1 FROM pg_database WHERE datname ~ %s LIMIT 1", (f"^{name}_[0-9]+$",))
            if clones.fetchone():
                return False
            for database in (*beside, name):
                sql.drop_database(admin, database, 0.0)
            sql.run(admin, "DROP ROLE IF EXISTS {}", name)
        return True

    def _look(self, admin: Connection[Any], role: str) -> tuple[object, list[str]]:
        row = admin.execute(_ROLE, (f"^{role}(_[0-9]+)?$", role)).fetchone()
        return row or (None, [])
