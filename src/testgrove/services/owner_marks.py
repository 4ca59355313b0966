"""Owner marks: they record that a database on an external server belongs to testgrove, and whether its owner lives.

The mark is the database's comment. A run's mark names an advisory lock, which the run holds on a separate connection
until it ends or is killed: pg_locks shows these locks for holders on all machines.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from testgrove.core.frozen import frozen

if TYPE_CHECKING:
    from collections.abc import Mapping

_PREFIX = "testgrove "
Kind = Literal["run", "worktree", "template", "building"]


@frozen
class Mark:
    """The mark of a database.

    kind: databases of a run, and templates while they are built, are dropped when their owner is gone; databases of
    worktrees and templates stay. token: unique to this database and the lease that was written before it. lock: the
    owner's advisory lock. owner: its name, for users. used: when it was last requested, UTC."""

    kind: Kind
    token: str
    lock: int
    owner: str
    used: str

    def dump(self) -> str:
        """As the comment on a database."""
        return _PREFIX + json.dumps(asdict(self))

    @classmethod
    def load(cls, comment: str | None) -> Mark | None:
        """The mark in a comment; None where there is none that we wrote."""
        if comment is None or not comment.startswith(_PREFIX + "{"):
            return None
        try:
            return cls(**json.loads(comment.removeprefix(_PREFIX)))
        except (ValueError, TypeError):
            return None

    @property
    def dropped_with_owner(self) -> bool:
        """Return whether the database is dropped when its owner is gone."""
        return self.kind in ("run", "building")

    def age_days(self) -> float:
        """Since it was last asked for; a time that cannot be read was long ago."""
        try:
            return (datetime.now(UTC) - datetime.fromisoformat(self.used)).total_seconds() / 86400
        except (ValueError, TypeError):
            return float("inf")


def token_of(lease: Mapping[str, Any], mark: Mark | None) -> str:
    """The token of the database that a lease's data name. mark: what is on the database of that name.

    A lease that was learnt again after the store was lost has none. Then the mark's counts, if it names the worktree.
    """
    known: str = lease["token"]
    if known or mark is None or (mark.kind, mark.owner) != ("worktree", lease["owner"]):
        return known
    return mark.token


def now() -> str:
    """The time for ``used``."""
    return datetime.now(UTC).isoformat()


def lock_key(text: str) -> int:
    """The advisory lock of that name, a signed 64-bit number."""
    digest = hashlib.blake2b(f"testgrove {text}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, signed=True)
