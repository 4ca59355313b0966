"""Databases of worktrees that outlive a command, wherever their servers run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial

from testgrove.app.databases.cell import CellDatabases, Make
from testgrove.app.databases.engines import EngineDatabases, Made, WorktreeMeans
from testgrove.app.databases.external import AsGiven, ServerPostgres, ServerRedis
from testgrove.app.databases.migration import migration
from testgrove.app.databases.sqlite import SqliteFiles
from testgrove.app.holder import Holder
from testgrove.app.project import Project
from testgrove.app.worktrees.workspace import DatabasesInTheMaking, Workspace
from testgrove.core.migrations.command import migration_to
from testgrove.core.model import DatabaseAccess
from testgrove.core.server_url import parse_server_url
from testgrove.errors import UsageError


@contextmanager
def databases_in_the_making(
    project: Project, holder: Holder, engines: Sequence[str], *, revision: str | None = None, empty: bool = False
) -> Iterator[DatabasesInTheMaking | None]:
    """What makes the databases of a worktree from `create`; None where there are none.

    revision: the PostgreSQL migration to stop at, None for the newest; empty: no migration at all. Raises what the
    servers of others answer, before anything is made: UnavailableError, PreconditionError.
    """
    means = WorktreeMeans(project, holder)
    after = _migration_to(project, revision) if revision is not None else ""
    elsewhere: dict[str, EngineDatabases] = {}
    with ExitStack() as servers:
        for engine in engines:
            if found := _elsewhere(engine, means, empty=empty or revision is not None):
                found.find()
                servers.callback(found.close)
                elsewhere[engine] = found
        parts = [CellDatabases(tuple(elsewhere), partial(_begin, means, elsewhere, after))] if elsewhere else []
        own = tuple(engine for engine in engines if engine not in elsewhere)
        if own:
            from testgrove.app.databases.persistent import KeptDatabases  # noqa: PLC0415 - only where something is kept

            kept = KeptDatabases(project, holder, revision=revision, empty=empty).making(own)
            parts += [kept] if kept else []
        yield Several(parts) if parts else None


def _migration_to(project: Project, revision: str) -> str:
    service = project.settings.services.named()["postgres"]
    if service.isolation == "none":
        raise UsageError(
            "migrate-to-unused",
            f"--migrate-to {revision}: the database is shared ([services.postgres] isolation = 'none'), "
            "and testgrove does not change it",
            hint="remove --migrate-to",
        )
    return migration_to(service, revision)


def _elsewhere(engine: str, means: WorktreeMeans, *, empty: bool) -> EngineDatabases | None:
    """An engine's databases that need no keeper; None where a server of the project's own is to hold them."""
    services, migrate = means.project.settings.services, "" if empty else None
    if engine == "sqlite":
        assert services.sqlite is not None
        return SqliteFiles(means, services.sqlite, migrate=migrate)
    service = services.named()[engine]
    if service.host == "embedded":
        return None
    if service.isolation == "none":
        return AsGiven(parse_server_url(engine, service.host))
    return ServerPostgres(means, service, migrate=migrate) if engine == "postgres" else ServerRedis(means, service)


def _begin(
    means: WorktreeMeans,
    engines: Mapping[str, EngineDatabases],
    after: str,
    creation: Workspace,
    making: CellDatabases,
) -> dict[str, Make]:
    makers: dict[str, Make] = {}
    for engine, databases in engines.items():
        maker = databases.maker(creation, making)
        shared = isinstance(databases, AsGiven)
        further = migration(after if engine == "postgres" and not shared else "", means.launcher, creation, making)
        makers[engine] = partial(_make, maker, further)
    return makers


def _make(maker: Callable[[], Made], further: Callable[[DatabaseAccess], None]) -> DatabaseAccess:
    _, access = maker()
    further(access)
    return access


class Several:
    """Databases that several makers create at the same time."""

    def __init__(self, parts: Sequence[DatabasesInTheMaking]) -> None:
        self._parts = parts

    def begin(self, workspace: Workspace) -> None:
        """Implement DatabasesInTheMaking."""
        for part in self._parts:
            part.begin(workspace)

    def finish(self) -> dict[str, DatabaseAccess]:
        """Implement DatabasesInTheMaking."""
        return {engine: access for part in self._parts for engine, access in part.finish().items()}

    def abandon(self) -> None:
        """Implement DatabasesInTheMaking."""
        for part in self._parts:
            part.abandon()
