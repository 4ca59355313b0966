"""SQL for a PostgreSQL server: roles, databases, templates. Nothing here depends on where it runs."""

from __future__ import annotations

import hashlib
import hmac
import os
import time
from base64 import b64encode
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, LiteralString

from testgrove.errors import ExhaustedError, PreconditionError, TestgroveError, UnavailableError, UsageError
from testgrove.services.engines.postgres.roles import create_role, grant_public_schema
from testgrove.services.owner_marks import lock_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from psycopg import Connection
    from psycopg.sql import Composable

    from testgrove.core.model import DatabaseAccess
    from testgrove.core.secret import Secret
    from testgrove.services.base import Endpoint
    from testgrove.services.engines.postgres.server import Template

MAINTENANCE = "postgres"  # the database that administration connects to, like psql -l and createdb
DRIVER_HINT = "pip install 'testgrove[postgres]'"
NAME_LIMIT = 63  # bytes
PATIENCE = 2.0  # seconds for clients that are about to leave
# Without a user: autovacuum workers. The server ends them itself where they are in the way, and only a superuser can.
_CLIENTS = "FROM pg_stat_activity WHERE datname = %s AND usesysid IS NOT NULL"
_PAUSE = 0.0003
# The driver reports the reason of a refused connection only as text.
_FULL = ("too many clients already", "remaining connection slots are reserved", "too many connections for")
_CLOSE = "use fewer workers, close connections in tests, or increase max_connections in the service's settings"


def load_driver() -> None:
    """Import psycopg, for callers that can do so while they wait. Raises PreconditionError (``no-driver``)."""
    try:
        import psycopg  # noqa: F401, PLC0415 - 0.1 to 0.2 s
    except ImportError as error:  # psycopg without its binary part and without libpq, too
        raise PreconditionError(
            "no-driver", f"PostgreSQL requires the driver psycopg, which cannot be imported: {error}", hint=DRIVER_HINT
        ) from error


def connect(endpoint: Endpoint, database: str = MAINTENANCE, application: str = "") -> Connection[Any]:
    """A connection in autocommit, through the socket. application: the name it is seen under. Raises
    UnavailableError."""
    import psycopg  # noqa: PLC0415 - heavy, and an extra

    with reported(f"connect to the database {database}"):
        return psycopg.connect(
            host=endpoint.socket_dir or endpoint.host,
            port=endpoint.port,
            user=endpoint.user,
            password=endpoint.password.reveal(),
            dbname=database,
            autocommit=True,
            connect_timeout=10,
            application_name=application,
        )


def connect_as_owner(access: DatabaseAccess) -> Connection[Any]:
    """Connect to a database as its clients do, in autocommit. Raises psycopg's errors."""
    import psycopg  # noqa: PLC0415 - heavy, and an extra

    return psycopg.connect(access.url(), autocommit=True, connect_timeout=10)


@contextmanager
def reported(what: str) -> Iterator[None]:
    """Turn errors of the driver into TestgroveErrors. what: completes "cannot …"."""
    from psycopg import Error, errors  # noqa: PLC0415 - heavy, and an extra

    try:
        yield
    except errors.DiskFull as error:
        raise ExhaustedError("disk-full", f"cannot {what}: {_first_line(error)}", hint="df -h") from error
    except Error as error:
        why = _first_line(error)
        if any(words in why for words in _FULL):
            raise ExhaustedError("connections-used-up", f"cannot {what}: {why}", hint=_CLOSE) from error
        raise UnavailableError("postgres-failed", f"cannot {what}: {why}") from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def create_database(
    admin: Connection[Any], endpoint: Endpoint, access: DatabaseAccess, template: Template, owner: str
) -> None:
    """Make access true: a role and a clone of the template that is wholly the role's, or nothing.

    owner: written on the database as its mark.
    """
    from psycopg import errors  # noqa: PLC0415 - heavy, and an extra

    if len(access.name.encode()) > NAME_LIMIT:
        raise UsageError("database-name-too-long", f"'{access.name}' is longer than {NAME_LIMIT} bytes")
    with reported(f"create the database {access.name}"):
        _take_turn(admin, access.user)
        try:
            roles = create_role(admin, access.user, scram_verifier(access.password))
        except errors.DuplicateObject as error:
            raise PreconditionError("database-exists", f"the database {access.name} already exists") from error
        try:
            _clone(admin, access, template.database, owner)
            _hand_over(admin, endpoint, access, template.role)
            if roles:
                with connect(endpoint, access.name) as clone:
                    grant_public_schema(clone, roles)
            copy_settings(admin, template.database, access.name, role=template.role, to_role=access.user)
        except BaseException as error:
            try:
                drop_role_and_databases(admin, access.user)
            except TestgroveError as second:
                error.add_note(f"and cleaning up failed: {second}")
            raise


def _take_turn(admin: Connection[Any], role: str) -> None:
    """Lock the creation and dropping of that role's databases until this connection ends.

    The server continues a statement of a killed client; a command that drops the database waits for its end."""
    key = lock_key(f"the role {role}")
    admin.execute(f"SET lock_timeout = '2min'; SELECT pg_advisory_lock({key})".encode(), prepare=False)


def _clone(admin: Connection[Any], access: DatabaseAccess, template: str, owner: str) -> None:
    from psycopg import sql  # noqa: PLC0415 - heavy, and an extra

    # FILE_COPY: 20 ms where WAL_LOG takes 100, with durability off and the data in memory.
    strategy = sql.SQL(" STRATEGY FILE_COPY" if admin.info.server_version >= 150000 else "")
    run(admin, "CREATE DATABASE {} OWNER {} TEMPLATE {}{}", access.name, access.user, template, strategy)
    run(admin, "REVOKE ALL ON DATABASE {} FROM PUBLIC", access.name)
    run(admin, "COMMENT ON DATABASE {} IS {}", access.name, sql.Literal(f"testgrove: {owner}"))


def _hand_over(admin: Connection[Any], endpoint: Endpoint, access: DatabaseAccess, role: str) -> None:
    """Make the clone's objects the new role's.

    Membership in the template's role would cost nothing, but then a migration that a test runs meets two owners:
    a replaced view cannot read a new table, a sequence cannot be OWNED BY another's column. In an empty database,
    up to version 14, the schema public is the superuser's; from 15 on it is the database's owner's.
    """
    if role or admin.info.server_version < 150000:
        with connect(endpoint, access.name) as clone:
            if role:
                run(clone, "REASSIGN OWNED BY {} TO {}", role, access.user)
            else:
                run(clone, "ALTER SCHEMA public OWNER TO {}", access.user)


def copy_settings(admin: Connection[Any], database: str, clone: str, *, role: str = "", to_role: str = "") -> None:
    """ALTER DATABASE … SET and ALTER ROLE … SET are not cloned; a migration may have done either."""
    from psycopg import sql  # noqa: PLC0415 - heavy, and an extra

    if not admin.execute("SELECT 1 FROM pg_db_role_setting LIMIT 1").fetchone():
        return  # the question below takes a fresh connection 3 ms
    found = admin.execute(
        "SELECT d.oid IS NOT NULL, r.oid IS NOT NULL, unnest(s.setconfig) FROM pg_db_role_setting s"
        " LEFT JOIN pg_database d ON d.oid = s.setdatabase LEFT JOIN pg_roles r ON r.oid = s.setrole"
        " WHERE (d.datname = %s OR s.setdatabase = 0) AND (r.rolname = %s OR s.setrole = 0)"
        " AND NOT (s.setdatabase = 0 AND s.setrole = 0)",
        (database, role),
    ).fetchall()
    for of_database, of_role, setting in found:
        text, _, value = setting.partition("=")
        name = sql.Identifier(*text.split("."))
        admin.execute("SELECT set_config(%s, %s, false)", (text, value))
        # FROM CURRENT: only the server knows which settings are lists.
        if of_role and of_database:
            run(admin, "ALTER ROLE {} IN DATABASE {} SET {} FROM CURRENT", to_role, clone, name)
        elif of_role:
            run(admin, "ALTER ROLE {} SET {} FROM CURRENT", to_role, name)
        else:
            run(admin, "ALTER DATABASE {} SET {} FROM CURRENT", clone, name)
        run(admin, "RESET {}", name)


def drop_role_and_databases(admin: Connection[Any], role: str) -> None:
    """Drop every database a role owns, and the role. Nothing to do when there is no such role."""
    with reported(f"drop the database {role}"):
        _take_turn(admin, role)
        if not admin.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (role,)).fetchone():
            return
        owned = admin.execute(
            "SELECT datname, datistemplate FROM pg_database JOIN pg_roles r ON r.oid = datdba WHERE rolname = %s",
            (role,),
        ).fetchall()
        for name, is_template in owned:
            if is_template:
                run(admin, "ALTER DATABASE {} IS_TEMPLATE false", name)
            drop_database(admin, name)
        run(admin, "DROP OWNED BY {}", role)
        run(admin, "DROP ROLE {}", role)


def drop_database(admin: Connection[Any], name: str, patience: float = PATIENCE) -> None:
    """Drop a database if it exists. Clients that are still connected after these seconds are ended."""
    # DROP waits in steps of 100 ms for a client that is just leaving; this does not.
    if not wait_until_left(admin, name, patience):
        admin.execute(f"SELECT pg_terminate_backend(pid) {_CLIENTS}".encode(), (name,))
        wait_until_left(admin, name, PATIENCE)
    run(admin, "DROP DATABASE IF EXISTS {} WITH (FORCE)", name)


def further_databases(admin: Connection[Any], role: str) -> list[str]:
    """Return the databases that a role owns, except the one of its name and those with testgrove's mark."""
    with reported(f"list the databases of {role}"):
        found = admin.execute(
            "SELECT d.datname FROM pg_database d JOIN pg_roles r ON r.oid = d.datdba WHERE rolname = %(role)s"
            " AND d.datname <> %(role)s"
            " AND NOT starts_with(coalesce(shobj_description(d.oid, 'pg_database'), ''), 'testgrove') ORDER BY 1",
            {"role": role},
        ).fetchall()
    return [name for (name,) in found]


def wait_until_left(admin: Connection[Any], database: str, timeout: float) -> bool:
    """Wait until no client is connected to a database; return whether that happened within timeout seconds."""
    deadline = time.monotonic() + timeout
    while admin.execute(f"SELECT 1 {_CLIENTS} LIMIT 1".encode(), (database,)).fetchone():
        if time.monotonic() > deadline:
            return False
        time.sleep(_PAUSE)
    return True


def add_extensions(database: Connection[Any], names: tuple[str, ...]) -> None:
    """Create extensions in a database. Raises UnavailableError if the role is not allowed to."""
    with reported(f"create the extensions {', '.join(names)}"), database:
        for name in names:
            run(database, "CREATE EXTENSION IF NOT EXISTS {} CASCADE", name)


def lower_password_cost(endpoint: Endpoint) -> None:
    """Make our own connections as cheap as a worktree's."""
    from psycopg import sql  # noqa: PLC0415 - heavy, and an extra

    with reported("set the superuser's password"), connect(endpoint) as admin:
        run(admin, "ALTER ROLE {} PASSWORD {}", endpoint.user, sql.Literal(scram_verifier(endpoint.password)))


def seal(endpoint: Endpoint, access: DatabaseAccess, name: str) -> str:
    """Make a database that has been migrated into a template with its final name; return what should be known."""
    with reported(f"seal the template {name}"), connect(endpoint) as admin:
        note = shut(admin, access.name, partial(connect, endpoint, access.name))
        with admin.transaction():  # a build that was killed is found by what its role owns
            run(admin, "ALTER DATABASE {} IS_TEMPLATE true", access.name)
            run(admin, "ALTER DATABASE {} OWNER TO {}", access.name, endpoint.user)
            run(admin, "ALTER ROLE {} NOLOGIN PASSWORD NULL", access.user)
            run(admin, "ALTER DATABASE {} RENAME TO {}", access.name, name)
    return note


def shut(admin: Connection[Any], name: str, connect_to_it: Callable[[], Connection[Any]]) -> str:
    """Analyze a migrated database and let no client in any more; return a note about clients that were ended."""
    note = _end_clients(admin, name)
    with connect_to_it() as database:
        database.execute("ANALYZE")
    run(admin, "ALTER DATABASE {} ALLOW_CONNECTIONS false", name)
    _end_clients(admin, name)
    return note


def _end_clients(admin: Connection[Any], database: str) -> str:
    if wait_until_left(admin, database, PATIENCE):
        return ""
    ended = admin.execute(
        b"SELECT pg_terminate_backend(pid), coalesce(nullif(application_name, ''), 'a client'), state "
        + _CLIENTS.encode(),
        (database,),
    ).fetchall()
    if not wait_until_left(admin, database, PATIENCE):
        raise UnavailableError(
            "template-in-use", f"clients of {database} did not disconnect after pg_terminate_backend"
        )
    who = ", ".join(f"{name} ({state or 'starting'})" for _, name, state in ended)
    return f"the migration left {len(ended)} connections open; closed them: {who}"


def scram_verifier(password: Secret) -> str:
    """Return what the server stores of a password, from a single iteration.

    Many iterations protect a password that people choose against being guessed from its verifier. Ours are
    random, and each connection that a test makes would pay for them: 5 ms where this takes 2.
    """
    salt = os.urandom(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.reveal().encode(), salt, 1)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    encoded = [b64encode(part).decode() for part in (salt, stored, server)]
    return f"SCRAM-SHA-256$1:{encoded[0]}${encoded[1]}:{encoded[2]}"


def run(connection: Connection[Any], statement: LiteralString, *parts: str | Composable) -> None:
    """Execute SQL with quoted identifiers, or other composed parts, for ``{}``."""
    from psycopg import sql  # noqa: PLC0415 - heavy, and an extra

    composed = sql.SQL(statement).format(*(sql.Identifier(p) if isinstance(p, str) else p for p in parts))
    connection.execute(composed)


def execute_script(sql: str, access: DatabaseAccess, *, timeout: float) -> None:
    """Implement Schemas.execute()."""
    from psycopg import Error  # noqa: PLC0415 - heavy, and an extra

    with reported(f"connect to {access.name}"):
        session = connect_as_owner(access)
    with session:
        session.execute("SELECT set_config('statement_timeout', %s, false)", (f"{timeout:.0f}s",))
        try:
            session.execute(sql.encode(errors="surrogateescape"))
        except Error as error:
            raise UnavailableError("script-failed", str(error)) from error
