"""Databases that tests dropped and recreated under their leased name, on an external server.

They have lost testgrove's mark, so they are kept. Each is recorded until it no longer exists, so that `doctor` can
name it: the next `create` of its worktree refuses while the name is in use.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from testgrove.app.project import Project
from testgrove.core.model import Lease, LeaseKind
from testgrove.core.server_url import parse_server_url
from testgrove.system.store import Store, StoredLeases

_OWNER = "left databases"


def remember_left(store: Store, lease: Lease) -> None:
    """Record that the database of a lease was kept. Idempotent; nothing for another engine than PostgreSQL."""
    if lease.data["engine"] != "postgres" or "name" not in lease.data:
        return
    left = Lease(LeaseKind.LEFT_DATABASE, lease.key, lease.data)
    leases = store.leases(_OWNER)
    with store.transaction():
        leases.forget(left)
        leases.record(left)


def left_databases(project: Project) -> Iterator[str]:
    """What is known of databases without our mark on the project's server, each as a sentence with the command that
    drops it. Those that are gone are forgotten. Raises UnavailableError when the server does not answer."""
    service = project.settings.services.postgres
    if service is None or service.host == "embedded":
        return
    place = parse_server_url("postgres", service.host).place
    left = project.store.leases(_OWNER)
    for owner, leases in ((left, left.all()), *_of_worktrees(project)):
        for lease in leases:
            if _is_at(lease, place):
                yield from _said(owner if owner is left else None, lease)


def _of_worktrees(project: Project) -> list[tuple[StoredLeases, tuple[Lease, ...]]]:
    owned = project.store.leases_of_kinds(LeaseKind.DATABASE)
    owners = dict.fromkeys(each.owner for each in owned if each.owner.startswith(f"worktree:{project.id}/"))
    found = [project.store.leases(owner) for owner in owners]
    return [(leases, leases.all()) for leases in found]


def _is_at(lease: Lease, place: str) -> bool:
    data: dict[str, Any] = lease.data
    kinds = (LeaseKind.DATABASE, LeaseKind.LEFT_DATABASE)
    return lease.kind in kinds and data.get("engine") == "postgres" and lease.key == f"{place} {data.get('name')}"


def _said(left: StoredLeases | None, lease: Lease) -> Iterator[str]:
    from testgrove.services.engines.postgres.external import remade  # noqa: PLC0415 - its driver; most meet none

    sentence = remade(lease.data)
    if sentence:
        yield sentence
    elif left is not None:
        left.forget(lease)
