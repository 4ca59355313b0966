"""Write-ahead leases: a resource is recorded here before it is created."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from testgrove.core.model import Lease, LeaseKind

if TYPE_CHECKING:
    from testgrove.core.server_url import ServerUrl

Choose = Callable[[frozenset[str]], Sequence[Lease]]


class Leases(Protocol):
    """One owner's leases. Each call is one transaction; a (kind, key) has at most one holder."""

    def record(self, *leases: Lease) -> None:
        """Store leases before what they name exists. Raises PreconditionError (``held``) when one is taken."""

    def choose(self, kind: LeaseKind, choose: Choose) -> tuple[Lease, ...]:
        """Atomically show the taken keys of a kind, machine-wide, and record what is chosen."""

    def forget(self, *leases: Lease) -> None:
        """Delete leases after their resources were removed."""

    def all(self) -> tuple[Lease, ...]:
        """This owner's leases, in the order in which they were recorded."""


def lease_by_mark(url: ServerUrl, name: str, owner: str, how: Mapping[str, Any]) -> Lease:
    """A lease for a worktree's database on a server by URL, after its own lease was lost.

    how: the data by which its engine finds it. It is dropped only if its mark names the owner, which is looked at when
    the lease is undone.
    """
    data = {"engine": url.engine, "url": url.text.reveal(), "token": "", "owner": owner, **how}
    return Lease(LeaseKind.DATABASE, f"{url.location} {name}", data)
