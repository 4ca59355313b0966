"""The leases on record: what each worktree, run and command holds."""

from __future__ import annotations

import json
import sqlite3
from typing import TYPE_CHECKING, NamedTuple

from testgrove.core.frozen import frozen
from testgrove.core.model import Lease, LeaseKind
from testgrove.errors import PreconditionError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from testgrove.core.leases import Choose
    from testgrove.system.store.database import StateDatabase
    from testgrove.system.store.store import Store


@frozen
class StoredLeases:
    """core.leases.Leases over the store."""

    store: Store
    owner: str

    def record(self, *leases: Lease) -> None:
        """Implement Leases."""
        with self.store.transaction() as db:
            for lease in leases:
                self._insert(db, lease)

    def choose(self, kind: LeaseKind, choose: Choose) -> tuple[Lease, ...]:
        """Implement Leases."""
        with self.store.transaction() as db:
            taken = frozenset(row[0] for row in db.execute("SELECT key FROM leases WHERE kind = ?", (kind,)))
            chosen = tuple(choose(taken))
            for lease in chosen:
                self._insert(db, lease)
        return chosen

    def forget(self, *leases: Lease) -> None:
        """Implement Leases."""
        with self.store.transaction() as db:
            for lease in leases:
                db.execute(
                    "DELETE FROM leases WHERE owner = ? AND kind = ? AND key = ?",
                    (self.owner, lease.kind, lease.key),
                )

    def all(self) -> tuple[Lease, ...]:
        """Implement Leases."""
        rows = self.store.rows("SELECT kind, key, data FROM leases WHERE owner = ? ORDER BY seq", self.owner)
        return tuple(Lease(_kind(row["kind"]), row["key"], json.loads(row["data"])) for row in rows)

    def hand_over(self, lease: Lease, owner: str) -> None:
        """Transfer a lease to another owner, with new data."""
        where = {"owner": self.owner, "kind": lease.kind, "key": lease.key}
        self.store.update("leases", where, owner=owner, data=json.dumps(lease.data))

    def _insert(self, db: sqlite3.Connection, lease: Lease) -> None:
        try:
            db.execute(
                "INSERT INTO leases (owner, kind, key, data) VALUES (?, ?, ?, ?)",
                (self.owner, lease.kind, lease.key, json.dumps(lease.data)),
            )
        except sqlite3.IntegrityError as error:
            row = db.execute("SELECT owner FROM leases WHERE kind = ? AND key = ?", (lease.kind, lease.key)).fetchone()
            raise PreconditionError(
                "held",
                f"{lease.kind} {lease.key} is held by {row['owner'] if row else 'another command'}",
                hint="testgrove list",
                key=lease.key,
            ) from error


class OwnedLease(NamedTuple):
    """A lease and whose it is."""

    owner: str
    lease: Lease


def leases_of_kinds(database: StateDatabase, kinds: Sequence[LeaseKind]) -> list[OwnedLease]:
    """All leases of some kinds, in the order in which they were recorded."""
    marks = ", ".join("?" * len(kinds))
    sql = f"SELECT owner, kind, key, data FROM leases WHERE kind IN ({marks}) ORDER BY seq"  # noqa: S608 - marks only
    rows = database.rows(sql, *kinds)
    return [OwnedLease(row["owner"], Lease(_kind(row["kind"]), row["key"], json.loads(row["data"]))) for row in rows]


def _kind(text: str) -> LeaseKind:
    try:
        return LeaseKind(text)
    except ValueError as error:
        message = f"unsupported lease in the store: {text!r}"
        raise PreconditionError("store-newer", message, hint="use the newer testgrove version that wrote it") from error
