"""A database's schema: all that a migration can make there, without rows, without what its tool keeps for itself."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from testgrove.services.engines.postgres import schema as postgres_schema
from testgrove.services.engines.sqlite import schema as sqlite_schema

if TYPE_CHECKING:
    from testgrove.core.migrations.schema import Schema
    from testgrove.core.model import DatabaseAccess


def read_schema(access: DatabaseAccess) -> Schema:
    """What there is in a database of PostgreSQL or SQLite. Raises UnavailableError."""
    found = sqlite_schema.read(Path(access.name)) if access.engine == "sqlite" else postgres_schema.read(access)
    return _without_versions(found)


def is_untouched(access: DatabaseAccess) -> bool:
    """Return whether a database is completely empty: not even a migration tool's table. Raises UnavailableError."""
    if access.engine == "sqlite":
        return sqlite_schema.is_untouched(Path(access.name))
    return postgres_schema.is_untouched(access)


def delete_rows(access: DatabaseAccess) -> None:
    """Empty every table of a database, but those that migration tools keep for themselves. Raises UnavailableError."""
    if access.engine == "sqlite":
        sqlite_schema.delete_rows(Path(access.name))
    else:
        postgres_schema.delete_rows(access)


def _without_versions(schema: dict[str, str]) -> Schema:
    """Alembic's own table can have another name, but has one column alone."""
    tables = [name.partition(" ")[2] for name in schema if name.startswith("table ")]
    for table in tables:
        columns = [name for name in schema if name.startswith(f"column {table}.")]
        if columns == [f"column {table}.version_num"]:
            of_table = (f"table {table}", *columns, f"constraint {table}.{table.rpartition('.')[2]}_pkc")
            schema = {name: text for name, text in schema.items() if name not in of_table}
    return schema
