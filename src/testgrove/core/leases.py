"""Writing ahead: whoever is about to make something records it here first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from testgrove.core.model import Lease, LeaseKind

Choose = Callable[[frozenset[str]], Sequence[Lease]]


class Leases(Protocol):
    """One owner's leases. Each call is one transaction; a (kind, key) has at most one holder."""

    def record(self, *leases: Lease) -> None:
        """Store leases before what they name exists. Raises PreconditionError (``held``) when one is taken."""

    def choose(self, kind: LeaseKind, choose: Choose) -> tuple[Lease, ...]:
        """Atomically show the taken keys of a kind, machine-wide, and record what is chosen."""

    def forget(self, *leases: Lease) -> None:
        """Delete leases after what they name is gone."""

    def all(self) -> tuple[Lease, ...]:
        """This owner's leases, in the order in which they were recorded."""
