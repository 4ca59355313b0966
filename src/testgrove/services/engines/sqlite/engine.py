"""SQLite's implementation; see engines.protocols."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from testgrove.services.base import Engine
from testgrove.services.engines.lazy_method import LazyMethod
from testgrove.services.instances import client
from testgrove.services.provider import Traits

if TYPE_CHECKING:
    from testgrove.core.settings.types import Service

_HERE = "testgrove.services.engines.sqlite"


class Sqlite(Engine):
    """SQLite: implements FileEngine, Schemas and Dumps of protocols."""

    templates = LazyMethod(f"{_HERE}.files:templates")
    create = LazyMethod(f"{_HERE}.files:create")
    remove = LazyMethod(f"{_HERE}.files:remove_database")
    dump = LazyMethod(f"{_HERE}.files:dump")
    load = LazyMethod(f"{_HERE}.files:load")
    read_schema = LazyMethod(f"{_HERE}.schema:read")
    is_untouched = LazyMethod(f"{_HERE}.schema:is_untouched")
    delete_rows = LazyMethod(f"{_HERE}.schema:delete_rows")
    execute = LazyMethod(f"{_HERE}.schema:execute")

    def traits(self) -> Traits:
        """Implement FileEngine."""
        return Traits(f"sqlite {sqlite3.sqlite_version}")

    def shell(self, url: str, service: Service | None) -> tuple[str, ...]:  # noqa: ARG002 - there are no versions
        """Implement Engine."""
        return (client("sqlite3"), url.removeprefix("sqlite:///"))


SQLITE = Sqlite()
