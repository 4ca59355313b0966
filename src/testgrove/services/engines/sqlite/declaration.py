"""SQLite, as the rest of testgrove knows it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from testgrove.core.engines.declaration import Engine, Fixture

if TYPE_CHECKING:
    from testgrove.core.model import DatabaseAccess


def _url(access: DatabaseAccess, redacted: bool) -> str:  # noqa: ARG001 - there is no password
    return f"sqlite:///{access.name}"


def _variables(access: DatabaseAccess) -> dict[str, str]:
    return {"DATABASE_URL": access.url(), "SQLITE_URL": access.url(), "SQLITE_PATH": access.name}


ENGINE = Engine(
    name="sqlite",
    title="SQLite",
    implementation="testgrove.services.engines.sqlite.engine:SQLITE",
    port=0,
    schemes=("sqlite",),
    isolation="file",
    hosts=("embedded",),
    test_isolations=("clone",),
    url_variable="SQLITE_URL",
    variables=_variables,
    variable_names=("SQLITE_URL", "SQLITE_PATH", "DATABASE_URL"),
    migrates=True,
    read_from="SQLITE_PATH or DATABASE_URL",
    dump="database.sqlite3",
    companion_suffixes=("-wal", "-shm", "-journal"),
    without=frozenset(("host", "isolation", "version", "migrate_to", "extensions", "settings", "roles", "superuser")),
    fixtures=(
        Fixture(
            "sqlite_path",
            scope="function",
            value="{name}",
            make="pathlib:Path",
            doc="An SQLite file of this test's own, as the migration left it.",
        ),
    ),
    describe=_url,
)
