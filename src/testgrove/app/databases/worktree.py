"""Databases of worktrees that outlive a command, wherever their servers run."""

from __future__ import annotations

import threading
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
from testgrove.app.worktrees.workspace import Workspace
from testgrove.core.migrations.command import migration_to
from testgrove.core.model import DatabaseAccess, Lease
from testgrove.core.settings.types import Service
from testgrove.errors import TestgroveError
from testgrove.services.provider import Provider, ProvisionedDatabase
from testgrove.services.provisioning.choose import provider_of
from testgrove.system.store import StoredLeases


@contextmanager
def pending_databases(
    project: Project,
    holder: Holder,
    names: Sequence[str],
    *,
    revisions: Mapping[str, str] = MappingProxyType({}),
    empty: bool = False,
    on_made: Callable[[ProvisionedDatabase], object] = lambda _made: None,
) -> Iterator[DatabaseCreation]:
    """Yield what makes the databases of a worktree from `create`, of some services.

    revisions: the migration to stop at instead of the newest, by service; empty: no migration at all. on_made: told of
    each database, in its thread. Raises before anything is made: PreconditionError where programs are missing, and
    what external servers answer.
    """
    services = {name: project.settings.services[name] for name in names}
    context = worktree_context(project, holder)
    providers = _providers(context, services)

    def begin(workspace: Workspace, making: DatabaseCreation) -> dict[str, Make]:
        makers: dict[str, Make] = {}
        for name, service in services.items():
            bare = empty or name in revisions
            make, _ = maker(context, providers[name], name, service, workspace, making, empty=bare)
            command = migration_to(name, service, revisions[name]) if name in revisions else ""
            further = migration(command, name, context.launcher, workspace, making)
            makers[name] = partial(_make, make, on_made, further)
        return makers

    with ExitStack() as closing:
        for provider in providers.values():
            provider.find()
            closing.callback(provider.close)
        yield DatabaseCreation(tuple(services), begin)


def _providers(context: AppContext, services: Mapping[str, Service]) -> dict[str, Provider]:
    from testgrove.app.databases.persistent import PersistentProvider  # noqa: PLC0415 - only for worktrees that stay

    turn = threading.Lock()
    return {
        name: provider_of(context, name, service)
        if without_keeper(context.project, name)
        else PersistentProvider(context, name, service, turn)
        for name, service in services.items()
    }


def create_databases(
    project: Project, holder: Holder, workspace: Workspace, names: Sequence[str]
) -> dict[str, DatabaseAccess]:
    """Create databases, with nothing in them, for a worktree that exists already. On an error nothing is left."""
    leases, made = records.worktree_leases(project, workspace.spec.id), list[ProvisionedDatabase]()
    before = leases.all()
    with pending_databases(project, holder, names, empty=True, on_made=made.append) as making:
        making.begin(workspace)
        try:
            return making.finish()
        except BaseException as error:
            making.abandon()
            try:
                for each in made:  # files have no lease
                    each.drop()
            finally:
                _undo(holder, leases, [lease for lease in leases.all() if lease not in before], error)
            raise


def _undo(holder: Holder, leases: StoredLeases, made: Sequence[Lease], error: BaseException) -> None:
    """Undo leases, each whatever happens to the others: one that stays would pass for a finished database."""
    for lease in reversed(made):
        try:
            undo_leases(holder, leases, [lease])
        except TestgroveError as second:
            error.add_note(f"and cleaning up failed: {second.message}")


def _make(
    make: Callable[[], ProvisionedDatabase],
    on_made: Callable[[ProvisionedDatabase], object],
    further: Callable[[DatabaseAccess], None],
) -> DatabaseAccess:
    made = make()
    on_made(made)
    further(made.access)
    return made.access
