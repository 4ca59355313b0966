"""A connection to an external PostgreSQL server: its requirements, and facts about the server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, LiteralString

from testgrove.core.secret import Secret
from testgrove.errors import PreconditionError, UnavailableError
from testgrove.services.engines.postgres.sql import load_driver

if TYPE_CHECKING:
    from psycopg import Connection

    from testgrove.core.server_url import ServerUrl

FIXED = "postgres"  # advisory locks belong to one database: this one is used if possible
_OLDEST = 130000


def connect(url: ServerUrl, *, database: str = "", timeout: int = 10) -> Connection[Any]:
    """A connection in autocommit, to the fixed database or to another. Raises UnavailableError
    (``server-unreachable``).

    Where the fixed database is closed to us, the one that the URL names is taken.
    """
    load_driver()
    import psycopg  # noqa: PLC0415 - heavy, and an extra

    first: psycopg.OperationalError | None = None
    for name in dict.fromkeys((database,) if database else (FIXED, url.database or FIXED)):
        try:
            connection = psycopg.connect(
                url.text.reveal(),
                dbname=name,
                autocommit=True,
                connect_timeout=timeout,
                application_name="testgrove",
                keepalives_idle=30,
            )
        except psycopg.OperationalError as error:
            first = first or error
        except psycopg.ProgrammingError:
            break  # other parameters of the URL; the driver's message would show the whole URL
        else:
            _make_lasting(connection)
            return connection
    why = " ".join(str(first).split()) if first else "the URL has a parameter that the driver does not support"
    raise UnavailableError(
        "server-unreachable",
        f"cannot use {url.location}: {why}",
        hint=f"psql -h {url.host} -p {url.port} -U {url.user or '$USER'} -c 'SELECT 1' postgres",
    ) from None


def _make_lasting(connection: Connection[Any]) -> None:
    """Our own session's settings: it may idle, and its locks go within a minute when our machine vanishes."""
    version = connection.info.server_version
    settings = {"statement_timeout": "0", "lock_timeout": "0", "idle_in_transaction_session_timeout": "0"}
    settings |= {"tcp_keepalives_idle": "30", "tcp_keepalives_interval": "10", "tcp_keepalives_count": "3"}
    if version >= 140000:
        settings |= {"idle_session_timeout": "0", "client_connection_check_interval": "1s"}
    for name, value in settings.items():
        connection.execute("SELECT set_config(%s, %s, false)", (name, value))


def check_server(connection: Connection[Any], url: ServerUrl) -> None:
    """Raise PreconditionError where the server is too old or does not let us create databases."""
    if connection.info.server_version < _OLDEST:
        raise PreconditionError("server-too-old", f"{url.location} is unsupported: it is older than PostgreSQL 13")
    found = connection.execute(
        "SELECT rolcreatedb OR rolsuper, pg_is_in_recovery() FROM pg_roles WHERE rolname = current_user"
    ).fetchone()
    may_create, is_standby = found or (False, False)
    if is_standby:
        raise PreconditionError("server-read-only", f"{url.location} is a standby, which is read-only")
    if not may_create:
        role = connection.info.user
        raise PreconditionError(
            "no-createdb",
            f"role '{role}' is not allowed to create databases on {url.location}",
            hint=f'ALTER ROLE "{role}" CREATEDB;   or use another role in the URL',
        )


def full_version(connection: Connection[Any]) -> str:
    """Such as ``15.18``."""
    found = connection.execute("SHOW server_version").fetchone()
    assert found is not None
    (version,) = found
    return str(version).split()[0]


def base(connection: Connection[Any]) -> str:
    """Return what a new database begins with, for the fingerprint: template1's encoding and locale."""
    found = connection.execute(
        "SELECT oid || ' ' || pg_encoding_to_char(encoding) || ' ' || datcollate || ' ' || datctype"
        " FROM pg_database WHERE datname = 'template1'"
    ).fetchone()
    return str(*found) if found else ""


def missing_extensions(connection: Connection[Any], names: tuple[str, ...]) -> list[str]:
    """Those that the server does not have."""
    rows = connection.execute("SELECT name FROM pg_available_extensions").fetchall()
    return sorted(set(names) - {name for (name,) in rows})


def take_lock(connection: Connection[Any], key: int) -> None:
    """Hold an owner's lock for as long as this connection lives."""
    connection.execute("SELECT pg_advisory_lock(%s)", (key,))


def strategy(connection: Connection[Any]) -> LiteralString:
    """Return the fastest way to clone on this server: it differs for servers with and without durability.

    FILE_COPY forces two checkpoints: 1.7 s against 0.12 s where they reach the disk, 17 ms against 47 where not.
    """
    if connection.info.server_version < 150000:
        return ""
    durable = connection.execute("SHOW fsync").fetchone() != ("off",)
    return " STRATEGY WAL_LOG" if durable else " STRATEGY FILE_COPY"


def check_connection(url: ServerUrl) -> tuple[str, Secret]:
    """Implement External."""
    with connect(url, database=url.database) as connection:
        return connection.info.user, Secret(connection.info.password or "")
