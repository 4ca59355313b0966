"""Databases for tests of migrations: empty at first, taken forward and back as the test asks, their schemas read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from testgrove.core.migrations.check import is_meant
from testgrove.core.migrations.tool import Script
from testgrove.errors import PreconditionError, UnavailableError, UsageError
from testgrove.services.allocation import BaseAllocation
from testgrove.services.migrations.migrator import FAILED, check_it_is_used
from testgrove.services.migrations.schemas import read_schema, schemas_of

if TYPE_CHECKING:
    from testgrove.core.migrations.tool import Tool, Work
    from testgrove.core.model import DatabaseAccess
    from testgrove.services.migrations.migrator import Migrator


class EmptyDatabases(Protocol):
    """A source of empty databases."""

    def make(self) -> DatabaseAccess:
        """Return an unused database."""

    def drop(self, access: DatabaseAccess) -> None:
        """Take it away."""


class MigrationAllocation(BaseAllocation["DatabaseAccess"]):
    """One client's databases, which it migrates itself."""

    def __init__(self, empty: EmptyDatabases, tool: Tool, migrator: Migrator) -> None:
        super().__init__()
        self._empty, self._tool, self._migrator = empty, tool, migrator
        self._at: dict[str, str] = {}  # the revision of each, where the tool keeps none in the database

    def make(self) -> tuple[DatabaseAccess, DatabaseAccess]:
        """A database with nothing in it. Raises TestgroveError."""
        access = self._empty.make()
        self._at[access.name] = "base"
        return access, access

    def discard(self, thing: DatabaseAccess) -> None:
        """Drop it. Raises UnavailableError."""
        self._empty.drop(thing)

    def migrate(self, name: str, way: str, revision: str, *, keep_data: bool) -> None:
        """Take a database forward or back to a revision. way: ``up`` or ``down``.

        Raises UnavailableError (``migration-failed``), PreconditionError (``irreversible``), UsageError.
        """
        access = self.of(name)
        if way not in {"up", "down"}:
            raise UsageError("bad-request", f"invalid way {way!r}: expected 'up' or 'down'")
        choose = self._tool.forward if way == "up" else self._tool.back
        work = choose(revision, self._at[name])
        if way == "down":
            check_it_is_used(work, access)
        if not keep_data:
            schemas_of(access).delete_rows(access)
        for each in work:
            self._do(each, access, back=way == "down")
            if isinstance(each, Script):
                self._at[name] = each.leads_to

    def _do(self, work: Work, access: DatabaseAccess, *, back: bool) -> None:
        try:
            self._migrator.do((work,), access)
        except UnavailableError as error:
            if back and error.code == FAILED and is_meant(str(error.details["output"])):
                raise PreconditionError("irreversible", error.message) from error
            raise

    def schema(self, name: str) -> dict[str, str]:
        """Return the schema of a database."""
        return dict(read_schema(self.of(name)))

    def revisions(self, name: str) -> dict[str, Any]:
        """Return all migrations in order, and a message if there are several newest ones."""
        status, output = 0, ""
        if self._tool.listing:
            status, output = self._migrator.ask(self._tool.listing, self.of(name))
        if status:
            raise UnavailableError(FAILED, f"cannot list the migrations:\n{output.strip()}")
        listing = self._tool.read(output)
        ours = [migration.shown for migration in listing.migrations if migration.ours]
        return {"revisions": ours, "conflicts": listing.conflicts}
