"""SQL for an external PostgreSQL server. It needs CREATEDB there, and touches only marked databases.

A database is created under a secret name, then marked, and gets its final name last. So a lease with both names is
enough to drop it, whenever its maker was killed, and a database that another user created under the final name is
never touched. Decisions that depend on a check (who owns it? is the owner alive?) are made under an advisory lock.
"""

from __future__ import annotations

import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from testgrove.core.frozen import frozen
from testgrove.errors import PreconditionError, TestgroveError
from testgrove.services.engines.postgres.sql import drop_database, reported, run, wait_until_left
from testgrove.services.owner_marks import Mark, lock_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from psycopg import Connection

    from testgrove.core.server_url import ServerUrl

HALF_MADE = ("testgrove_new_", "testgrove_building_")  # and a token
_PAUSE = 0.02
_LEFT_BEHIND = 120.0  # seconds that a killed client's last statement may go on on the server


@frozen
class FoundDatabase:
    """An existing database, whoever owns it."""

    name: str
    mark: Mark | None
    alive: bool  # a living owner holds the mark's lock

    @property
    def is_leftover(self) -> bool:
        """Return whether it is testgrove's, its owner is gone, and it should be dropped with its owner.

        Unfinished databases always should."""
        dropped_with_owner = self.mark is not None and (self.mark.dropped_with_owner or self.name.startswith(HALF_MADE))
        return dropped_with_owner and not self.alive


@contextmanager
def locked(
    connection: Connection[Any],
    what: str,
    *,
    timeout: float,
    on_wait: Callable[[], object] | None = None,
) -> Iterator[None]:
    """Hold the advisory lock of a name. on_wait: called while another command holds it; may raise.

    Raises PreconditionError (``lock-timeout``).
    """
    key, deadline = lock_key(what), time.monotonic() + timeout
    while connection.execute("SELECT pg_try_advisory_lock(%s)", (key,)).fetchone() != (True,):
        if on_wait is not None:
            on_wait()
        if time.monotonic() > deadline:
            raise PreconditionError(
                "lock-timeout",
                f"timed out after {timeout:g} s waiting for {what}",
                hint="held by another testgrove: SELECT * FROM pg_stat_activity WHERE application_name = 'testgrove'",
            )
        time.sleep(_PAUSE)
    try:
        yield
    finally:
        if not connection.closed:
            with suppress(TestgroveError), reported("let go of a lock"):
                connection.execute("SELECT pg_advisory_unlock(%s)", (key,))


def find_all(connection: Connection[Any]) -> list[FoundDatabase]:
    """Every database that our role owns."""
    rows = connection.execute(
        "SELECT d.datname, shobj_description(d.oid, 'pg_database') FROM pg_database d"
        " WHERE d.datdba = (SELECT oid FROM pg_roles WHERE rolname = current_user) ORDER BY 1"
    ).fetchall()
    return _judged(connection, rows)


def find(connection: Connection[Any], name: str) -> FoundDatabase | None:
    """Return a database by its name, whoever owns it."""
    statement = "SELECT datname, shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s"
    found = _judged(connection, connection.execute(statement, (name,)).fetchall())
    return found[0] if found else None


def _judged(connection: Connection[Any], rows: list[tuple[str, str | None]]) -> list[FoundDatabase]:
    # After the comments: an owner takes its lock before it makes anything.
    held = connection.execute(
        "SELECT ((classid::bigint << 32) | objid::bigint) FROM pg_locks"
        " WHERE locktype = 'advisory' AND objsubid = 1 AND granted"
    ).fetchall()
    alive = {key for (key,) in held}
    marks = [(name, Mark.load(comment)) for name, comment in rows]
    return [FoundDatabase(name, mark, mark is not None and mark.lock in alive) for name, mark in marks]


def create(connection: Connection[Any], name: str, template: str, how: str, mark: Mark) -> None:
    """Create a database under a secret name, and mark it."""
    from psycopg import sql  # noqa: PLC0415 - heavy, and an extra

    with reported(f"create the database {name}"):
        run(connection, "CREATE DATABASE {} TEMPLATE {}{}", name, template, sql.SQL(how))
        set_mark(connection, name, mark)
        run(connection, "REVOKE ALL ON DATABASE {} FROM PUBLIC", name)


def set_mark(connection: Connection[Any], name: str, mark: Mark) -> None:
    """Write the mark on a database."""
    from psycopg import sql  # noqa: PLC0415 - heavy, and an extra

    run(connection, "COMMENT ON DATABASE {} IS {}", name, sql.Literal(mark.dump()))


def rename(connection: Connection[Any], temporary: str, name: str, url: ServerUrl) -> bool:
    """Give a database its final name; return whether it has it. Drops a dead run's database of that name first.

    Returns False while a living owner of testgrove uses the name. Raises PreconditionError (``database-exists``) if
    the name belongs to another database, which is left alone.
    """
    with locked(connection, f"the name {name}", timeout=60.0):
        found = find(connection, name)
        if found is not None and not (refuse_unmarked(found, url) and _drop_dead(connection, found)):
            return False
        with reported(f"name the database {name}"):
            run(connection, "ALTER DATABASE {} RENAME TO {}", temporary, name)
        return True


def refuse_unmarked(found: FoundDatabase, url: ServerUrl) -> bool:
    """Return True; raise PreconditionError for a database with that name that is not testgrove's."""
    if found.mark is None:
        raise PreconditionError(
            "database-exists",
            f"the database {found.name} already exists on {url.location} and does not belong to testgrove",
            hint=f"rename it, or drop it if it is not needed: dropdb -h {url.host} -p {url.port} {found.name}",
            database=found.name,
        )
    return True


def _drop_dead(connection: Connection[Any], found: FoundDatabase) -> bool:
    """Drop a database whose owner is gone, unless a client is connected to it; return whether it was dropped."""
    from psycopg import errors  # noqa: PLC0415 - heavy, and an extra

    if not found.is_leftover or not wait_until_left(connection, found.name, 0.0):
        return False
    try:
        run(connection, "DROP DATABASE IF EXISTS {}", found.name)
    except (errors.ObjectInUse, errors.InsufficientPrivilege):
        return False
    return True


def sweep(connection: Connection[Any]) -> list[str]:
    """Drop the databases of dead runs; their names."""
    gone = []
    for found in find_all(connection):
        if not found.is_leftover:
            continue
        with locked(connection, f"the name {found.name}", timeout=60.0):
            now = find(connection, found.name)
            if now == found and _drop_dead(connection, now):
                gone.append(found.name)
    return gone


def drop(connection: Connection[Any], *, temporary: str, name: str, token: str) -> bool:
    """Drop the database that a lease names; return False if the database of that name is not the leased one.

    The server may still be creating it for a maker that was killed: waits for that.
    """
    with reported(f"drop the database {name}"):
        with locked(connection, f"the maker {token}", timeout=_LEFT_BEHIND):
            if find(connection, temporary) is not None:
                drop_database(connection, temporary)
        with locked(connection, f"the name {name}", timeout=60.0):
            found = find(connection, name)
            if found is None or (found.mark is not None and found.mark.token != token):
                return True
            if found.mark is None:
                return False
            drop_database(connection, name)
    return True
