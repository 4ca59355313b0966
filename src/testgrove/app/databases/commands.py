"""What `testgrove db` does with the databases of one worktree."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from testgrove.app.databases.persistent import KeptDatabases
from testgrove.app.databases.persistent_services import accesses_of, start_services, with_another_port
from testgrove.app.databases.worktree_external import create_given, drop_given, is_given
from testgrove.app.holder import Holder
from testgrove.app.launcher import SupervisedLauncher
from testgrove.app.project import Project
from testgrove.app.worktrees import records
from testgrove.app.worktrees.creation import Creation
from testgrove.app.worktrees.files import values_of, write_files
from testgrove.app.worktrees.undo import undo_leases
from testgrove.app.worktrees.workspace import Target
from testgrove.core.migrations.command import migration_to
from testgrove.core.model import DatabaseAccess, Lease, LeaseKind, WorktreeSpec, WorktreeStatus
from testgrove.core.settings.types import Service
from testgrove.core.worktrees.record import WorktreeRecord
from testgrove.errors import PreconditionError, UsageError
from testgrove.services.binaries import find_postgres
from testgrove.services.engines.postgres.persistent import KeptPostgres
from testgrove.services.engines.redis.persistent import empty_instance
from testgrove.services.migrations.run import run_migration
from testgrove.system.environment import build
from testgrove.system.processes.process import scrubbed

Say = Callable[[str], None]
_ENGINE_OF = {LeaseKind.KEPT_DATABASE: "postgres", LeaseKind.SERVICE: "redis"}


@dataclass
class WorktreeDatabases:
    """The databases of a worktree that this command holds. Made by holding_databases()."""

    project: Project
    holder: Holder
    worktree: WorktreeRecord
    say: Say

    def create(self, engines: Sequence[str]) -> list[str]:
        """Make the databases that are declared and missing, migrated; return their engines."""
        given = [one for one in engines if is_given(self.project, one) and one not in self.worktree.databases]
        self._create_given(given)
        leased = {_ENGINE_OF[lease.kind] for lease in self._leases()}
        missing = [one for one in engines if not is_given(self.project, one) and one not in leased]
        if missing:
            kept = KeptDatabases(self.project, self.holder, empty=True)
            making = kept.making(tuple(missing))
            assert making is not None
            making.begin(self._creation())
            try:
                making.finish()
            except BaseException:
                making.abandon()
                undo_leases(self.holder, records.leases_of(self.project.store, self.worktree), self._leases(missing))
                raise
            self._write()
        lost = [lease for lease in self._leases(engines) if self._is_lost(lease)]
        for lease in lost:
            self._remake(lease)
        if "postgres" in missing or lost:
            self.migrate(None)
        return [*given, *missing, *(_ENGINE_OF[lease.kind] for lease in lost)]

    def _create_given(self, engines: Sequence[str]) -> None:
        if not engines:
            return
        made = create_given(self.project, self.holder, self._creation(), engines)
        self.worktree = write_files(self.project, self.worktree, self._accesses() | made).worktree
        self._write()
        for engine in engines:
            self._migrate_given(engine)

    def _migrate_given(self, engine: str) -> None:
        services = self.project.settings.services
        if engine == "sqlite" and services.sqlite and services.sqlite.migrate:
            self._run_migration(services.sqlite.migrate, "sqlite", {engine: self._accesses()[engine]})
        elif engine == "postgres" and services.postgres and services.postgres.isolation != "none":
            self.migrate(None)

    def drop(self, engines: Sequence[str]) -> None:
        """Take databases away; the env file does not name them any more."""
        given = [engine for engine in engines if is_given(self.project, engine)]
        drop_given(self.project, self.holder, self.worktree, given)
        left = {engine: shown for engine, shown in self.worktree.databases.items() if engine not in given}
        self.worktree = records.update(self.project.store, self.worktree, databases=left)
        with_another_port(self.project, self.holder, self.worktree, partial(self._undo, engines), self.say)
        self._write()

    def _undo(self, engines: Sequence[str]) -> None:
        undo_leases(self.holder, records.leases_of(self.project.store, self.worktree), self._leases(engines))

    def reset(self, engines: Sequence[str]) -> None:
        """Empty databases and migrate them again. Name, password and port stay."""
        given = [engine for engine in engines if is_given(self.project, engine)]
        if given:
            self.drop(given)
            self._create_given(given)
        if given == list(engines):
            return
        self._start()
        for lease in self._require(engines):
            if lease.kind == LeaseKind.SERVICE:
                empty_instance(self._accesses()["redis"])
            else:
                self._remake(lease)
                self.migrate(None)

    def migrate(self, revision: str | None) -> None:
        """Run the project's migration in the worktree, to a revision or to the newest."""
        service = self.project.settings.services.postgres
        command = "" if service is None else service.migrate
        if service is not None and revision is not None:
            command = migration_to(service, revision)
        if command:
            self._start()
            self._run_migration(command, "postgres", self._accesses())

    def _run_migration(self, command: str, engine: str, databases: dict[str, DatabaseAccess]) -> None:
        self.say(f"migrating: {command}")
        tree = self.worktree.path
        env = build.activate(scrubbed(), tree) if (tree / ".venv").exists() else scrubbed()
        env |= values_of(self.project, self.worktree.id, self.worktree.ports, databases)
        launcher = SupervisedLauncher(self.holder.supervisors, threading.Event())
        settings = self.project.settings
        run_migration(
            command, databases[engine], launcher=launcher, cwd=tree, env=env, others=databases, settings=settings
        )

    def _remake(self, lease: Lease) -> None:
        folder, _, name = lease.key.partition("#")
        server = KeptPostgres.read(Path(folder))
        assert server is not None
        service = self.project.settings.services.postgres or Service()
        password = self._accesses()["postgres"].password
        server.drop(name)
        owner = f"worktree {self.worktree.id} of {self.project.main}"
        server.create_empty(name, owner=owner, extensions=service.extensions, password=password)

    def _is_lost(self, lease: Lease) -> bool:
        folder, _, name = lease.key.partition("#")
        if lease.kind != LeaseKind.KEPT_DATABASE:
            return False
        self._start()
        server = KeptPostgres.read(Path(folder))
        return server is not None and not server.has(name)

    def _start(self) -> None:
        names = [Path(lease.key.partition("#")[0]).name for lease in self._leases()]
        if names:
            start_services(self.project, self.holder, names, self.say)

    def _leases(self, engines: Sequence[str] = ("postgres", "redis")) -> list[Lease]:
        leases = records.leases_of(self.project.store, self.worktree).all()
        return [lease for lease in leases if _ENGINE_OF.get(lease.kind) in engines]

    def _require(self, engines: Sequence[str]) -> list[Lease]:
        found = self._leases(engines)
        if not found:
            raise PreconditionError(
                "no-database",
                f"worktree {self.worktree.id} has no database of {' or '.join(engines)}",
                hint=f"testgrove db create {self.worktree.id}",
            )
        return found

    def _accesses(self) -> dict[str, DatabaseAccess]:
        return accesses_of(self.project, self.worktree)

    def _write(self) -> None:
        # A server that moved meanwhile has had its worktrees' files written, and this one's manifest with them.
        now = self.project.store.worktrees.find(self.project.id, self.worktree.id) or self.worktree
        self.worktree = write_files(self.project, now, self._accesses()).worktree
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
            yield WorktreeDatabases(project, holder, held, say)
        finally:
            records.update(project.store, held, holder=None)


def declared_engines(project: Project, engine: str | None) -> list[str]:
    """The engines a command works on: one, or all that are declared. Raises UsageError for one that is not."""
    known = list(project.settings.services.engines)
    if engine is not None and engine not in known:
        there = ", ".join(known) or "none"
        raise UsageError(
            "unknown-engine", f"engine '{engine}' not found in [tool.testgrove.services] (available: {there})"
        )
    return [engine] if engine else known


def client_program(engine: str) -> str:
    """The program that a person speaks to a server with. Raises PreconditionError (``no-client-program``)."""
    names = {"postgres": ("psql",), "redis": ("redis-cli", "valkey-cli"), "sqlite": ("sqlite3",)}[engine]
    for name in names:
        if found := shutil.which(name):
            return found
    if engine == "postgres":
        with_binaries = find_postgres().bindir / "psql"
        if with_binaries.exists():
            return str(with_binaries)
    raise PreconditionError(
        "no-client-program", f"{' or '.join(names)} not found", hint="install it, or put it on PATH"
    )
