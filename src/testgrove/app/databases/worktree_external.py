"""The databases of a worktree that no keeper holds: their addresses, recreating and dropping them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from testgrove.app.holder import Holder
from testgrove.app.project import Project
from testgrove.app.worktrees import records
from testgrove.app.worktrees.inside import variables_of
from testgrove.app.worktrees.undo import undo_leases
from testgrove.app.worktrees.workspace import Workspace
from testgrove.core.model import DatabaseAccess, LeaseKind
from testgrove.core.secret import Secret
from testgrove.core.server_url import parse_server_url
from testgrove.core.worktrees.record import WorktreeRecord
from testgrove.errors import PreconditionError
from testgrove.services.engines.sqlite.files import remove_database

_VARIABLES = {"postgres": "DATABASE_URL", "redis": "REDIS_URL"}


def accesses_given(worktree: WorktreeRecord) -> dict[str, DatabaseAccess]:
    """By what the env file says, of each engine that the worktree names; passwords included.

    An engine whose variable is missing, or names something else, is left out.
    """
    found: dict[str, DatabaseAccess] = {}
    known = variables_of(worktree) if worktree.databases else {}
    for engine, shown in worktree.databases.items():
        if engine == "sqlite":
            found[engine] = DatabaseAccess(engine, shown["name"], "", 0, "", Secret(""))
        elif access := _access(engine, shown["name"], known):
            found[engine] = access
    return found


def _access(engine: str, name: str, known: Mapping[str, str]) -> DatabaseAccess | None:
    try:
        url = parse_server_url(engine, known.get(_VARIABLES[engine], ""))
    except ValueError:
        return None
    user, password = url.user, url.password
    if engine == "postgres":  # a URL of isolation = 'none' may leave them to the environment
        user = user or known.get("PGUSER", "")
        password = password if password.reveal() else Secret(known.get("PGPASSWORD", ""))
    return DatabaseAccess(engine, name, url.host, url.port, user, password, given=url.text)


def is_given(project: Project, engine: str) -> bool:
    """Whether an engine's databases are no keeper's: by URL, or files."""
    service = project.settings.services.named().get(engine)
    return service is None or service.host != "embedded"


def create_given(
    project: Project, holder: Holder, creation: Workspace, engines: Sequence[str]
) -> dict[str, DatabaseAccess]:
    """Make databases, with nothing in them, for a worktree that is there already. On an error nothing is left."""
    from testgrove.app.databases.worktree import databases_in_the_making  # noqa: PLC0415 - drivers; most need none

    before = records.worktree_leases(project, creation.spec.id).all()
    with databases_in_the_making(project, holder, engines, empty=True) as making:
        assert making is not None
        making.begin(creation)
        try:
            return dict(making.finish())
        except BaseException:
            making.abandon()
            leases = records.worktree_leases(project, creation.spec.id)
            undo_leases(holder, leases, [lease for lease in leases.all() if lease not in before])
            raise


def drop_given(project: Project, holder: Holder, worktree: WorktreeRecord, engines: Sequence[str]) -> None:
    """Drop databases of a worktree. Raises PreconditionError (``database-shared``) for one that is shared."""
    for engine in engines:
        service = project.settings.services.named().get(engine)
        if service is not None and service.isolation == "none":
            raise PreconditionError(
                "database-shared",
                f"{engine}: the database is shared ([services.{engine}] isolation = 'none')",
                hint="testgrove does not drop shared databases",
            )
    leases = records.leases_of(project.store, worktree)
    undo_leases(
        holder,
        leases,
        [lease for lease in leases.all() if lease.kind == LeaseKind.DATABASE and lease.data["engine"] in engines],
    )
    if "sqlite" in engines and "sqlite" in worktree.databases:
        remove_database(Path(worktree.databases["sqlite"]["name"]))
