"""The actions of `testgrove db` on the databases of one worktree."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType

from testgrove.app.databases.persistent_services import (
    PERSISTENT,
    accesses_of,
    service_of,
    start_services,
    with_another_port,
)
from testgrove.app.databases.worktree_external import drop_without_keeper, without_keeper
from testgrove.app.holder import Holder
from testgrove.app.keeper_undo import persistent_server
from testgrove.app.launcher import SupervisedLauncher
from testgrove.app.project import Project
from testgrove.app.worktrees import records
from testgrove.app.worktrees.creation import Creation
from testgrove.app.worktrees.files import let_go, write_files
from testgrove.app.worktrees.undo import undo_leases
from testgrove.app.worktrees.workspace import Target
from testgrove.core.engines.registry import default_services, implementation_of
from testgrove.core.migrations.command import migration_to
from testgrove.core.model import DatabaseAccess, Lease, LeaseKind, WorktreeSpec, WorktreeStatus
from testgrove.core.settings.types import Service
from testgrove.core.worktrees.record import WorktreeRecord
from testgrove.errors import PreconditionError, UsageError
from testgrove.services.migrations.migrator import Migrator

Say = Callable[[str], None]


@dataclass
class WorktreeDatabases:
    """The databases of a worktree that this command holds. Made by holding_databases(). names: of services."""

    project: Project
    holder: Holder
    worktree: WorktreeRecord
    say: Say

    def create(self, names: Sequence[str]) -> list[str]:
        """Make the databases that are declared and missing, migrated; return their services."""
        lost = [lease for lease in self._leases(names) if self._is_lost(lease)]
        leased = {service_of(lease) for lease in self._leases()}
        known = {name: self.worktree.databases if without_keeper(self.project, name) else leased for name in names}
        missing = [name for name in names if name not in known[name]]
        self._create(missing)
        for lease in lost:
            self._remake(lease)
        remade = [service_of(lease) for lease in lost]
        for name in remade:
            self.migrate(None, name)
        return [*missing, *remade]

    def _create(self, names: Sequence[str]) -> None:
        if not names:
            return
        from testgrove.app.databases.worktree import create_databases  # noqa: PLC0415 - providers; most need none

        self._write(create_databases(self.project, self.holder, self._creation(), names))
        for name in names:
            if not self.project.settings.services[name].is_shared:
                self.migrate(None, name)

    def drop(self, names: Sequence[str]) -> None:
        """Take databases away; the env file does not name them any more."""
        given = [name for name in names if without_keeper(self.project, name)]
        drop_without_keeper(self.project, self.holder, self.worktree, given)
        left = {name: shown for name, shown in self.worktree.databases.items() if name not in given}
        self.worktree = records.update(self.project.store, self.worktree, databases=left)
        with_another_port(self.project, self.holder, self.worktree, partial(self._undo, names), self.say)
        self._write()

    def _undo(self, names: Sequence[str]) -> None:
        undo_leases(self.holder, records.leases_of(self.project.store, self.worktree), self._leases(names))

    def reset(self, names: Sequence[str]) -> None:
        """Empty databases and migrate them again. Name, password and port stay."""
        given = [name for name in names if without_keeper(self.project, name)]
        if given:
            self.drop(given)
            self._create(given)
        if given == list(names):
            return
        self._start()
        for lease in self._require(names):
            name = service_of(lease)
            if lease.kind == LeaseKind.SERVICE:
                access = self._accesses()[name]
                implementation_of(access.engine).empty(access)
            else:
                self._remake(lease)
            self.migrate(None, name)

    def migrate(self, revision: str | None, name: str) -> None:
        """Run the project's migration of a service in the worktree, to a revision or to the newest."""
        service = self.project.settings.services[name]
        command = service.migrate if revision is None else migration_to(name, service, revision)
        if command:
            if not without_keeper(self.project, name):
                self._start()
            databases = self._accesses()
            if name not in databases:
                raise self._no_database([name])
            self.say(f"migrating: {command}")
            environ = self._creation().environ_with(databases, plain=name)
            launcher = SupervisedLauncher(self.holder.supervisors, threading.Event())
            tree = self.project.folder_in(self.worktree.path, service.directory)
            migrator = Migrator(launcher, tree, lambda _access: environ, self.project.settings)
            migrator.upgrade(command, databases[name], databases)

    def _remake(self, lease: Lease) -> None:
        folder, _, database = lease.key.partition("#")
        server = persistent_server(Path(folder))
        assert server is not None
        name = service_of(lease)
        service = self.project.settings.services.get(name) or Service()
        password = self._accesses()[name].password
        server.drop_database(database)
        owner = f"worktree {self.worktree.id} of {self.project.main}"
        server.create_empty(database, owner=owner, extensions=service.extensions, password=password)

    def _is_lost(self, lease: Lease) -> bool:
        folder, _, database = lease.key.partition("#")
        if lease.kind != LeaseKind.PERSISTENT_DATABASE:
            return False
        self._start()
        server = persistent_server(Path(folder))
        return server is not None and not server.has(database)

    def _start(self) -> None:
        names = [Path(lease.key.partition("#")[0]).name for lease in self._leases()]
        if names:
            start_services(self.project, self.holder, names, self.say)

    def _leases(self, names: Sequence[str] | None = None) -> list[Lease]:
        """Of the databases that the keeper holds, of some services or of all."""
        kept = [
            lease for lease in records.leases_of(self.project.store, self.worktree).all() if lease.kind in PERSISTENT
        ]
        return [lease for lease in kept if names is None or service_of(lease) in names]

    def _require(self, names: Sequence[str]) -> list[Lease]:
        found = self._leases(names)
        if not found:
            raise self._no_database(names)
        return found

    def _no_database(self, names: Sequence[str]) -> PreconditionError:
        return PreconditionError(
            "no-database",
            f"worktree {self.worktree.id} has no database of {' or '.join(names)}",
            hint=f"testgrove db create {self.worktree.id}",
        )

    def _accesses(self) -> dict[str, DatabaseAccess]:
        return accesses_of(self.project, self.worktree)

    def _write(self, made: Mapping[str, DatabaseAccess] = MappingProxyType({})) -> None:
        # A server that moved meanwhile has had its worktrees' files written, and this one's manifest with them.
        now = self.project.store.worktrees.find(self.project.id, self.worktree.id) or self.worktree
        self.worktree = write_files(self.project, now, {**self._accesses(), **made}).worktree
        records.write_registry(self.project.store, self.holder.locks, self.project.id, self.project.main)

    def _creation(self) -> Creation:
        worktree = self.worktree
        target = Target(worktree.commit, "", worktree.branch, worktree.branch)
        return Creation(
            self.project,
            self.holder,
            WorktreeSpec(worktree.id, None),
            target,
            worktree=worktree,
            logs=self.project.artifacts,
            on_phase=lambda _phase, reason: self.say(reason),
        )


@contextmanager
def holding_databases(project: Project, worktree: str, command: str, say: Say) -> Iterator[WorktreeDatabases]:
    """Hold a worktree, to work on its databases. Raises PreconditionError (``worktree-held``)."""
    with project.holding(f"testgrove db {command} {worktree}") as holder:
        held = records.take(project, holder, records.named(project, worktree), WorktreeStatus.READY)
        try:
            yield WorktreeDatabases(project.around(held.directory), holder, held, say)
        finally:
            let_go(project.store, held)


def declared_services(project: Project, name: str | None) -> list[str]:
    """The services a command works on: one, or all that are declared. An engine's name means its default service.

    Raises UsageError (``unknown-engine``) for one that is not declared.
    """
    services = project.settings.services
    if name is None:
        return list(services)
    found = name if name in services else default_services(services).get(name)
    if found is None:
        there = ", ".join(services) or "none"
        raise UsageError(
            "unknown-engine", f"service '{name}' not found in [tool.testgrove.services] (available: {there})"
        )
    return [found]
