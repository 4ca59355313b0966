"""The store's tables, each with what may be read and written of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from testgrove.core.model import LeaseKind
from testgrove.system.store.commands import Commands
from testgrove.system.store.database import StateDatabase
from testgrove.system.store.leases import OwnedLease, StoredLeases, leases_of_kinds
from testgrove.system.store.worktrees import Worktrees

if TYPE_CHECKING:
    from testgrove.system.store.projects import Projects
    from testgrove.system.store.runs import Runs


class Store(StateDatabase):
    """The store's tables. Every read and every change goes through one of them. See StateDatabase."""

    @property
    def commands(self) -> Commands:
        """The commands that hold something."""
        return Commands(self)

    @property
    def projects(self) -> Projects:
        """The projects of the user."""
        from testgrove.system.store.projects import Projects  # noqa: PLC0415 - `list` does without

        return Projects(self)

    @property
    def runs(self) -> Runs:
        """The runs that go on, and how long cells took before."""
        from testgrove.system.store.runs import Runs  # noqa: PLC0415 - as above

        return Runs(self)

    @property
    def worktrees(self) -> Worktrees:
        """The worktrees of all projects."""
        return Worktrees(self)

    def leases(self, owner: str) -> StoredLeases:
        """The leases of one owner: ``worktree:<project>/<id>``, ``run:<id>`` or ``command:<mark>``."""
        return StoredLeases(self, owner)

    def leases_of_kinds(self, *kinds: LeaseKind) -> list[OwnedLease]:
        """Return all leases of some kinds, of all owners, in the order in which they were recorded."""
        return leases_of_kinds(self, kinds)

    def counts(self) -> dict[str, int]:
        """Return the numbers of stored worktrees, runs and leases, without databases that tests recreated."""
        tables = {"worktrees": "TRUE", "runs": "TRUE", "leases": f"kind != '{LeaseKind.LEFT_DATABASE}'"}
        return {
            name: self.rows(f"SELECT count(*) AS number FROM {name} WHERE {which}")[0]["number"]  # noqa: S608 - constant text
            for name, which in tables.items()
        }
