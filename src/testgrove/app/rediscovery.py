"""Restores records that a damaged store lost: from git's records, from the metadata in worktrees, and from the folders
of the project's own servers. Deletes nothing. Databases on external servers are leased again according to the metadata;
their owner marks decide when they are dropped.

Done once for each damage and project, by the first command that can. A worktree counts as testgrove's only if git's
record has testgrove's lock, its metadata has its folder's id, and it was created before the damage.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from testgrove.app.lost_records import mark, pending
from testgrove.app.worktrees import records
from testgrove.core.engines.registry import engine_of, engine_shown, implementation_of
from testgrove.core.model import Lease, LeaseKind, WorktreeId, WorktreeStatus
from testgrove.core.naming import url_variable
from testgrove.core.worktrees.record import WorktreeRecord
from testgrove.errors import TestgroveError
from testgrove.system import git
from testgrove.system.locks import other_users
from testgrove.system.store.salvage import NOTE

if TYPE_CHECKING:
    from testgrove.app.holder import Holder
    from testgrove.app.project import Project
    from testgrove.services.keeper.service import PersistentService

METADATA = ".worktree-metadata.json"
KEEPER = "testgrove.app.keeper"
KNOWN_AGAIN = "restored from git and its metadata after the store was damaged"


def rediscover(project: Project, holder: Holder) -> list[str]:
    """Restore records from git and metadata; return the ids that were added.

    Postponed while commands run that the store does not know: their worktrees must not look free.
    """
    folders = list(pending(project))
    known = {command.pid for command in project.store.commands.all()}
    if any(pid not in known for pid in other_users(project.locations.locks, but=KEEPER)):
        return []
    damaged_at = max(folder.stat().st_mtime for folder in folders)
    added = []
    for path in _checkouts(project):
        with suppress(TestgroveError, OSError, ValueError, KeyError, TypeError, AttributeError):
            metadata = _metadata_of(path, before=damaged_at)
            if _learn(project, path, metadata):
                added.append(metadata["id"])
    if (location := _servers(project)) is not None:
        _learn_servers(project, location)
    for folder in folders:
        mark(folder, project).touch()
    records.write_registry(project.store, holder.locks, project.id, project.main)
    return added


def _checkouts(project: Project) -> Iterator[Path]:
    for record in git.checkouts(project.repository):
        if record.locked == git.LOCK_REASON and git.is_checkout(project.repository, record.path):
            yield record.path


def _metadata_of(path: Path, *, before: float) -> dict[str, Any]:
    """The metadata of a worktree that was made before a time. Raises ValueError, OSError, KeyError."""
    metadata: dict[str, Any] = json.loads((path / METADATA).read_text(encoding="utf-8"))
    worktree = WorktreeId(metadata["purpose"], metadata["identifier"])
    if str(worktree) != metadata["id"] or datetime.fromisoformat(metadata["created"]).timestamp() > before:
        raise ValueError(metadata["id"])
    return metadata


def _learn(project: Project, path: Path, metadata: dict[str, Any]) -> bool:
    """Record a worktree that the store lacks, or what its record lacks; whether it was lacking."""
    worktree = project.store.worktrees.at(path)
    databases, ports = metadata.get("databases", {}), metadata.get("ports", {})
    if worktree is None:
        record = WorktreeRecord(
            id=WorktreeId(metadata["purpose"], metadata["identifier"]),
            path=path,
            status=WorktreeStatus.READY,
            branch=metadata["branch"],
            commit=metadata["commit"],
            created=datetime.fromisoformat(metadata["created"]).astimezone(UTC),
            ports=_lease_ports(project, metadata["id"], ports),
            databases=databases,
            python=metadata["python"],
            env_file=metadata["env_file"],
            directory=metadata.get("directory", ""),
            note=KNOWN_AGAIN,
            project=project.id,
            own_commits=(metadata["commit"],),
        )
        if not project.store.worktrees.add(record):
            raise ValueError(metadata["id"])
    elif worktree.note == NOTE and worktree.holder is None:
        _lease_ports(project, metadata["id"], ports)
        records.update(
            project.store,
            worktree,
            ports=worktree.ports or ports,
            databases=worktree.databases or databases,
            directory=worktree.directory or metadata.get("directory", ""),
            note=KNOWN_AGAIN,
        )
    where = {"common_dir": str(project.repository.common_dir), "main": str(project.main)}
    _record(project, _owner(project, metadata["id"]), Lease(LeaseKind.CHECKOUT, str(path), where))
    if databases:
        _learn_given(project, metadata["id"], databases)
    return worktree is None


def _learn_given(project: Project, name: str, databases: dict[str, dict[str, str]]) -> None:
    """Return a worktree's databases on external servers. Their marks decide at its removal whether they are its own."""
    from testgrove.app.context import worktree_owner  # noqa: PLC0415 - few worktrees have any
    from testgrove.core.server_url import parse_server_url  # noqa: PLC0415 - only to relearn

    for service_name, service in project.settings.services.items():
        if service_name not in databases or service.is_embedded or service.is_shared:
            continue
        url, shown = parse_server_url(service.engine, service.host), databases[service_name]
        if parse_server_url(service.engine, shown["url"]).location == url.location:
            lease = implementation_of(service.engine).lease_by_mark(url, shown["name"], worktree_owner(project, name))
            _record(project, _owner(project, name), lease)


def _lease_ports(project: Project, name: str, ports: dict[str, int]) -> dict[str, int]:
    """Lease a worktree's ports again; return those that no other owner has leased."""
    from testgrove.system.ports import network_namespace  # noqa: PLC0415 - `list` does without

    namespace = network_namespace()
    return {
        label: port
        for label, port in ports.items()
        if _record(
            project, _owner(project, name), Lease(LeaseKind.PORTS, f"{namespace}:{port}", {"name": label, "port": port})
        )
    }


def _owner(project: Project, name: str) -> str:
    return f"worktree:{project.id}/{name}"


def _record(project: Project, owner: str, lease: Lease) -> bool:
    """Record a lease; whether it is this owner's now."""
    leases = project.store.leases(owner)
    with suppress(TestgroveError):
        leases.record(lease)
    return any((each.kind, each.key) == (lease.kind, lease.key) for each in leases.all())


def _servers(project: Project) -> Path | None:
    """The folder of the project's own servers, where there is one."""
    locations = (project.locations.servers / project.id, project.locations.open_servers / project.id)
    return next((location for location in locations if location.is_dir()), None)


def _learn_servers(project: Project, folder: Path) -> None:
    from testgrove.app.keeper import location_of, new_location, project_owner  # noqa: PLC0415 - few projects have servers
    from testgrove.services.keeper.service import services_in  # noqa: PLC0415 - only to relearn
    from testgrove.system.ports import network_namespace  # noqa: PLC0415 - only to relearn

    closed = folder.parent == project.locations.open_servers
    location = location_of(project.store, project.id) or new_location(project.locations, project.id, closed=closed)
    _record(project, project_owner(project.id), location.lease())
    known = records.all_of(project)
    for service in services_in(folder):
        own = _with_instance(service, known)
        owner = _owner(project, str(own.id)) if own else project_owner(project.id)
        port = {"name": service.name, "port": service.port}
        _record(project, owner, Lease(LeaseKind.PORTS, f"{network_namespace()}:{service.port}", port))
        if own:
            name = service.name.removesuffix(f"-{own.id}")
            _learn_database(project, own, name, Lease(LeaseKind.SERVICE, str(folder / service.name), location.data()))
            continue
        for worktree in known:
            for name, shown in worktree.databases.items():
                if f":{service.port}/" in str(shown.get("url", "")):
                    key = f"{folder / service.name}#{shown['name']}"
                    _learn_database(project, worktree, name, Lease(LeaseKind.PERSISTENT_DATABASE, key, location.data()))


def _with_instance(service: PersistentService, known: list[WorktreeRecord]) -> WorktreeRecord | None:
    """The worktree that an instance belongs to; None for a server with databases of several."""
    if engine_of(service.engine or service.name.partition("-")[0]).isolation != "instance":
        return None
    found = [worktree for worktree in known if service.name.endswith(f"-{worktree.id}")]
    return max(found, key=lambda worktree: len(str(worktree.id))) if found else None


def _learn_database(project: Project, worktree: WorktreeRecord, name: str, lease: Lease) -> None:
    """Record what a worktree has of a service. The password stands in its env file alone."""
    from urllib.parse import urlsplit  # noqa: PLC0415 - few projects have servers

    from testgrove.app.worktrees.user_commands import variables_of  # noqa: PLC0415 - only to relearn

    with suppress(TestgroveError, OSError):
        values = variables_of(worktree)
        engine = engine_shown(name, worktree.databases.get(name, {}))
        url = values.get(url_variable(name)) or values.get(engine.url_variable, "")
        data = {**lease.data, "service": name, "password": urlsplit(url).password or ""}
        _record(project, _owner(project, str(worktree.id)), Lease(lease.kind, lease.key, data))
