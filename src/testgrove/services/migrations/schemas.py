"""A database's schema: all that a migration can make there, without rows, without what its tool keeps for itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from testgrove.core.engines.registry import implementation_of

if TYPE_CHECKING:
    from testgrove.core.migrations.schema import Schema
    from testgrove.core.model import DatabaseAccess
    from testgrove.services.engines.protocols import Schemas


def schemas_of(access: DatabaseAccess) -> Schemas:
    """Return the reader and writer of a database's schema."""
    found: Schemas = implementation_of(access.engine)
    return found


def read_schema(access: DatabaseAccess) -> Schema:
    """Read the schema of a migrated database. Raises UnavailableError."""
    return _without_versions(dict(schemas_of(access).read_schema(access)))


def _without_versions(schema: dict[str, str]) -> Schema:
    """Alembic's own table can have another name, but has one column alone."""
    tables = [name.partition(" ")[2] for name in schema if name.startswith("table ")]
    for table in tables:
        columns = [name for name in schema if name.startswith(f"column {table}.")]
        if columns == [f"column {table}.version_num"]:
            of_table = (f"table {table}", *columns, f"constraint {table}.{table.rpartition('.')[2]}_pkc")
            schema = {name: text for name, text in schema.items() if name not in of_table}
    return schema
