"""Databases of worktrees that outlive a command, wherever their servers run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from types import MappingProxyType

from testgrove.app.context import AppContext, worktree_context
from testgrove.app.databases.creation import DatabaseCreation, Make
from testgrove.app.databases.maker import maker
from testgrove.app.databases.migration import migration
from testgrove.app.databases.worktree_external import without_keeper
from testgrove.app.holder import Holder
from testgrove.app.project import Project
from testgrove.app.worktrees import records
from testgrove.app.worktrees.undo import undo_leases
from testgrove.app.worktrees.workspace import PendingDatabases, Workspace
from testgrove.core.migrations.command import migration_to
from testgrove.core.model import DatabaseAccess
from testgrove.core.settings.types import Service
from testgrove.services.provider import Provider, ProvisionedDatabase
from testgrove.services.provisioning.choose import provider_of


@contextmanager
def pending_databases(
    project: Project,
    holder: Holder,
    names: Sequence[str],
    *,
    revisions: Mapping[str, str] = MappingProxyType({}),
    empty: bool = False,
) -> Iterator[PendingDatabases | None]:
    """Return the maker of the databases of a worktree from `create`, for some services; None where there are none.

    revisions: the migration to stop at instead of the newest, by service; empty: no migration at all. Raises
    what the servers of others answer, before anything is made: UnavailableError, PreconditionError.
    """
    services = {name: project.settings.services[name] for name in names}
    context = worktree_context(project, holder)
    given = {name: service for name, service in services.items() if without_keeper(project, name)}
    own = {name: service for name, service in services.items() if name not in given}
    with ExitStack() as servers:
        providers = {name: provider_of(context, name, service) for name, service in given.items()}
        for provider in providers.values():
            provider.find()
            servers.callback(provider.close)
        parts: list[PendingDatabases] = []
        if given:
            parts.append(DatabaseCreation(tuple(given), partial(_begin, context, providers, given, revisions, empty)))
        if own:
            from testgrove.app.databases.persistent import PersistentDatabases  # noqa: PLC0415 - only where something is kept

            parts.append(PersistentDatabases(project, holder, own, revisions=revisions, empty=empty).making())
        yield CombinedDatabases(parts) if parts else None


def create_without_keeper(
    project: Project, holder: Holder, workspace: Workspace, names: Sequence[str]
) -> dict[str, DatabaseAccess]:
    """Make databases, with nothing in them, for a worktree that is there already. On an error nothing is left."""
    before = records.worktree_leases(project, workspace.spec.id).all()
    with pending_databases(project, holder, names, empty=True) as making:
        assert making is not None
        making.begin(workspace)
        try:
            return dict(making.finish())
        except BaseException:
            making.abandon()
            leases = records.worktree_leases(project, workspace.spec.id)
            undo_leases(holder, leases, [lease for lease in leases.all() if lease not in before])
            raise


def _begin(
    context: AppContext,
    providers: Mapping[str, Provider],
    services: Mapping[str, Service],
    revisions: Mapping[str, str],
    empty: bool,
    workspace: Workspace,
    making: DatabaseCreation,
) -> dict[str, Make]:
    makers: dict[str, Make] = {}
    for name, service in services.items():
        bare = empty or name in revisions
        make, _ = maker(context, providers[name], name, service, workspace, making, empty=bare)
        command = migration_to(name, service, revisions[name]) if name in revisions else ""
        makers[name] = partial(_make, make, migration(command, name, context.launcher, workspace, making))
    return makers


def _make(make: Callable[[], ProvisionedDatabase], further: Callable[[DatabaseAccess], None]) -> DatabaseAccess:
    access = make().access
    further(access)
    return access


class CombinedDatabases:
    """Databases that several makers create at the same time."""

    def __init__(self, parts: Sequence[PendingDatabases]) -> None:
        self._parts = parts

    def begin(self, workspace: Workspace) -> None:
        """Implement PendingDatabases."""
        for part in self._parts:
            part.begin(workspace)

    def finish(self) -> dict[str, DatabaseAccess]:
        """Implement PendingDatabases."""
        return {name: access for part in self._parts for name, access in part.finish().items()}

    def abandon(self) -> None:
        """Implement PendingDatabases."""
        for part in self._parts:
            part.abandon()
