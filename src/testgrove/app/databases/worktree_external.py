"""The databases of a worktree that no keeper holds: their addresses, recreating and dropping them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from testgrove.app.holder import Holder
from testgrove.app.project import Project
from testgrove.app.worktrees import records
from testgrove.app.worktrees.undo import undo_leases
from testgrove.app.worktrees.user_commands import variables_of
from testgrove.core.engines.registry import default_services, engine_of, engine_shown, implementation_of
from testgrove.core.model import DatabaseAccess, Lease, LeaseKind
from testgrove.core.naming import url_variable
from testgrove.core.secret import Secret
from testgrove.core.server_url import parse_server_url
from testgrove.core.worktrees.record import WorktreeRecord
from testgrove.errors import PreconditionError


def accesses_without_keeper(project: Project, worktree: WorktreeRecord) -> dict[str, DatabaseAccess]:
    """By what the env file says, of each service that the worktree names; passwords included.

    An engine whose variable is missing, or names something else, is left out.
    """
    found: dict[str, DatabaseAccess] = {}
    known = variables_of(worktree) if worktree.databases else {}
    defaults = default_services(project.settings.services)
    for name, shown in worktree.databases.items():
        engine = engine_shown(name, shown)
        is_default = defaults.get(engine.name, engine.name) == name
        if engine.isolation == "file":
            found[name] = DatabaseAccess(engine.name, shown["name"], "", 0, "", Secret(""))
        elif access := _access(engine.name, shown["name"], known, "" if is_default else name):
            found[name] = access
    return found


def _access(engine: str, database: str, known: Mapping[str, str], service: str) -> DatabaseAccess | None:
    """service: whose variable says it; empty for the default one of the engine."""
    declared = engine_of(engine)
    try:
        url = parse_server_url(engine, known.get(url_variable(service) if service else declared.url_variable, ""))
    except ValueError:
        return None
    user, password = url.user, url.password
    if not service:  # a URL of isolation = 'none' may leave them to the environment
        user = user or known.get(declared.user_variable, "")
        password = password if password.reveal() else Secret(known.get(declared.password_variable, ""))
    return DatabaseAccess(engine, database, url.host, url.port, user, password, external_url=url.text)


def without_keeper(project: Project, name: str) -> bool:
    """Return whether a service's databases are no keeper's: by URL, or files."""
    service = project.settings.services.get(name)
    return service is None or not service.is_embedded or engine_of(service.engine).isolation == "file"


def drop_without_keeper(project: Project, holder: Holder, worktree: WorktreeRecord, names: Sequence[str]) -> None:
    """Drop databases of a worktree. Raises PreconditionError (``database-shared``) for one that is shared."""
    for name in names:
        service = project.settings.services.get(name)
        if service is not None and service.is_shared:
            raise PreconditionError(
                "database-shared",
                f"{name}: the database is shared ([services.{name}] isolation = 'none')",
                hint="testgrove does not drop shared databases",
            )
    leases = records.leases_of(project.store, worktree)
    undo_leases(holder, leases, [lease for lease in leases.all() if _is_of(project, worktree, lease, names)])
    for name in names:
        shown = worktree.databases.get(name)
        if shown is not None and (engine := engine_shown(name, shown)).isolation == "file":
            implementation_of(engine.name).remove(Path(shown["name"]))


def _is_of(project: Project, worktree: WorktreeRecord, lease: Lease, names: Sequence[str]) -> bool:
    """Return whether a lease is for one of these services: of their engines, and not the database of another one."""
    if lease.kind != LeaseKind.DATABASE:
        return False
    services = project.settings.services
    engines = {services[name].engine if name in services else name for name in names}
    made = lease.data.get("name", lease.data.get("number"))
    others = {str(shown["name"]) for name, shown in worktree.databases.items() if name not in names}
    return lease.data["engine"] in engines and str(made) not in others
