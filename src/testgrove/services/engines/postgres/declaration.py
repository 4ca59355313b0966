"""PostgreSQL, as the rest of testgrove knows it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from testgrove.core.engines.declaration import Clients, Engine, Hints

if TYPE_CHECKING:
    from testgrove.core.model import DatabaseAccess


def _variables(access: DatabaseAccess) -> dict[str, str]:
    values = {
        "DATABASE_URL": access.url(),
        "DATABASE_NAME": access.name,
        "PGHOST": access.host,
        "PGPORT": str(access.port),
        "PGUSER": access.user,
    }
    if access.name != access.user:  # else it is what clients assume
        values["PGDATABASE"] = access.name
    if access.password.reveal():  # an external server may require none
        values["PGPASSWORD"] = access.password.reveal()
    return values


ENGINE = Engine(
    name="postgres",
    title="PostgreSQL",
    implementation="testgrove.services.engines.postgres.engine:POSTGRES",
    port=5432,
    schemes=("postgresql", "postgres"),
    aliases={"postgres": "postgresql"},
    isolation="database",
    test_isolations=("clone", "reset", "transaction"),
    url_variable="DATABASE_URL",
    variables=_variables,
    variable_names=("DATABASE_URL", "DATABASE_NAME", "PGHOST", "PGPORT", "PGUSER", "PGDATABASE", "PGPASSWORD"),
    user_variable="PGUSER",
    password_variable="PGPASSWORD",  # noqa: S106 - the variable's name
    socket=".s.PGSQL.{port}",
    migrates=True,
    read_from="DATABASE_URL or PG*",
    dump="database.sql",
    without=frozenset(("path",)),
    hints=Hints(
        frozenset(
            ("psycopg", "psycopg2", "psycopg2-binary", "psycopg-binary", "asyncpg", "pg8000", "aiopg", "pgvector")
        ),
        "postgres|postgis/|pgvector/",
        guessed=True,
        prefixes=("POSTGRES", "POSTGRESQL", "PG", "PSQL"),
        facts={
            "host": "${PGHOST}",
            "port": "${PGPORT}",
            "user": "${PGUSER}",
            "password": "${PGPASSWORD}",
            "name": "${DATABASE_NAME}",
        },
        backends=r"postgresql|postgis|psqlextra",
    ),
    clients=Clients(
        (
            "psql",
            "pg_dump",
            "pg_dumpall",
            "pg_restore",
            "createdb",
            "dropdb",
            "createuser",
            "dropuser",
            "vacuumdb",
            "reindexdb",
            "pg_isready",
            "pgbench",
        ),
        ("PGHOST", "PGPORT", "PGUSER", "PGPASSWORD"),
    ),
)
