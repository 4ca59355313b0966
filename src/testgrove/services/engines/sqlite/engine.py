"""SQLite's implementation; see engines.protocols."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

from testgrove.services.engines.lazy_method import lazy_method
from testgrove.services.instances import client
from testgrove.services.provider import Traits

if TYPE_CHECKING:
    from testgrove.core.model import DatabaseAccess
    from testgrove.core.settings.types import Service

_HERE = "testgrove.services.engines.sqlite"


class Sqlite:
    """SQLite: implements FileEngine, Schemas and Dumps of protocols."""

    templates = lazy_method(f"{_HERE}.files:templates")
    create = lazy_method(f"{_HERE}.files:create")
    remove = lazy_method(f"{_HERE}.files:remove_database")
    dump = lazy_method(f"{_HERE}.files:dump")
    load = lazy_method(f"{_HERE}.files:load")
    read_schema = lazy_method(f"{_HERE}.schema:read")
    is_untouched = lazy_method(f"{_HERE}.schema:is_untouched")
    delete_rows = lazy_method(f"{_HERE}.schema:delete_rows")
    execute = lazy_method(f"{_HERE}.schema:execute")

    def traits(self) -> Traits:
        """Implement FileEngine."""
        return Traits(f"sqlite {sqlite3.sqlite_version}")

    def shell(self, url: str, service: Service | None) -> tuple[str, ...]:  # noqa: ARG002 - there are no versions
        """Implement Engine."""
        return (client("sqlite3"), url.removeprefix("sqlite:///"))

    def require(self) -> None:
        """Implement Engine. It needs no driver."""

    def client_environ(self, access: DatabaseAccess) -> dict[str, str]:  # noqa: ARG002 - a file has no password
        """Implement Engine."""
        return {}

    def client_programs(self, path: str | None) -> tuple[Path, ...]:  # noqa: ARG002 - it brings none
        """Implement Engine."""
        return ()


SQLITE = Sqlite()
