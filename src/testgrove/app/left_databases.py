"""Databases that tests dropped and recreated under their leased name, on an external server.

They have lost testgrove's mark, so they are kept. Each is recorded until it no longer exists, so that `doctor` can
name it: the next `create` of its worktree refuses while the name is in use.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from testgrove.app.project import Project
from testgrove.core.engines.registry import implementation_of
from testgrove.core.model import Lease, LeaseKind
from testgrove.core.server_url import parse_server_url
from testgrove.system.store import Store, StoredLeases

_OWNER = "left databases"


def remember_left(store: Store, lease: Lease) -> None:
    """Record that the database of a lease was kept. Idempotent; nothing for one without a name, such as a number."""
    if "name" not in lease.data:
        return
    left = Lease(LeaseKind.LEFT_DATABASE, lease.key, lease.data)
    leases = store.leases(_OWNER)
    with store.transaction():
        leases.forget(left)
        leases.record(left)


def left_databases(project: Project) -> Iterator[str]:
    """Describe the databases without our mark on the project's server, each as a sentence with the command that
    drops it. Those that are gone are forgotten. Raises UnavailableError when the server does not answer."""
    services = project.settings.services.values()
    locations = {parse_server_url(each.engine, each.host).location for each in services if not each.is_embedded}
    left = project.store.leases(_OWNER)
    for owner, leases in ((left, left.all()), *_of_worktrees(project)) if locations else ():
        for lease in leases:
            if _is_at(lease, locations):
                yield from _said(owner if owner is left else None, lease)


def _of_worktrees(project: Project) -> list[tuple[StoredLeases, tuple[Lease, ...]]]:
    owned = project.store.leases_of_kinds(LeaseKind.DATABASE)
    owners = dict.fromkeys(each.owner for each in owned if each.owner.startswith(f"worktree:{project.id}/"))
    found = [project.store.leases(owner) for owner in owners]
    return [(leases, leases.all()) for leases in found]


def _is_at(lease: Lease, locations: Collection[str]) -> bool:
    kinds = (LeaseKind.DATABASE, LeaseKind.LEFT_DATABASE)
    name = lease.data.get("name")
    return lease.kind in kinds and name is not None and lease.key in {f"{location} {name}" for location in locations}


def _said(left: StoredLeases | None, lease: Lease) -> Iterator[str]:
    sentence = implementation_of(lease.data["engine"]).recreated(lease.data)
    if sentence:
        yield sentence
    elif left is not None:
        left.forget(lease)
