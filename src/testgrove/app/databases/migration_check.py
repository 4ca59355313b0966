"""`db check`: migrations forward step by step, back step by step and forward again, on databases created for the check.

1. Order the migrations that the tool lists. Several heads end the check.
2. Migrate forward from an empty database; read the schema after each step. A step that fails ends the check.
3. Compare the models with the migrated database, if the tool can.
4. Migrate back, step by step: the schema must be the one before the step. If a step is irreversible, a new database
   is migrated to the state before that step, and the check continues from there.
5. Migrate forward again from there: the schema must be the same as the first time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import msgspec

from testgrove.app.context import own_folder
from testgrove.app.databases.migration import checkout_variables
from testgrove.app.holder import Holder
from testgrove.app.project import Project
from testgrove.app.providers.empty_databases import EmptyDatabases, empty_databases
from testgrove.app.worktrees import records
from testgrove.app.worktrees.files import values_of
from testgrove.app.worktrees.found_environment import find_environment
from testgrove.app.worktrees.user_commands import with_environment
from testgrove.core.engines.registry import default_services, engine_of, known_engines
from testgrove.core.frozen import frozen
from testgrove.core.migrations.check import Checked, Drift, Problem, last_line, way_back_failed
from testgrove.core.migrations.known_tools import find_tool
from testgrove.core.migrations.schema import Schema
from testgrove.core.migrations.steps import Step, steps
from testgrove.core.migrations.tool import Listing, Tool, back_through, through
from testgrove.core.model import DatabaseAccess, WorktreeStatus
from testgrove.core.settings.types import Service
from testgrove.core.worktrees.record import WorktreeRecord
from testgrove.errors import PreconditionError, UnavailableError, UsageError
from testgrove.services.migrations.inputs import read_inputs
from testgrove.services.migrations.migrator import FAILED, Migrator, check_it_is_used
from testgrove.services.migrations.schemas import read_schema
from testgrove.system.processes.process import scrubbed

Say = Callable[[str], object]


def check_migrations(
    project: Project, worktree: str | None, engine: str | None, *, accepted: Sequence[str] = (), say: Say
) -> list[Checked]:
    """Check the migrations of a worktree or of the current checkout.

    Checks one engine, or all engines with migrations, in each version of the settings. accepted: migrations that are
    known to be irreversible. say: called with each step. Raises UsageError; PreconditionError (``no-migration``) if
    there is nothing to check; and the errors of servers and tools.
    """
    services = _services(project, engine)
    with (
        project.holding(f"testgrove db check {worktree or ''}".strip()) as holder,
        _checkout(project, holder, worktree) as checkout,
        own_folder(project, holder, "check") as context,
    ):
        found = []
        for name, service in services.items():
            service_name = name.split()[0]
            table = f"[tool.testgrove.services.{service_name}]"
            folder = project.folder_in(checkout.tree, service.directory)
            tool = find_tool(service.migrate, read_inputs(folder, service.inputs), table=table)
            empty = empty_databases(context, service_name, service)
            try:
                environ = partial(checkout.environ, service_name)
                migrator = Migrator(context.launcher, folder, environ, project.settings)
                checked = _Check(tool, empty, migrator, name, frozenset(accepted), say).run()
                engine = name.replace(service_name, service.engine, 1)  # with the version, if there are several
                found.append(replace(checked, service=service_name, engine=engine))
            finally:
                empty.close()
        return found


def _services(project: Project, asked: str | None) -> dict[str, Service]:
    """Return the services to check, in each version. asked: one of them, or an engine's default one."""
    services = project.settings.services
    if asked is not None and asked not in services:
        asked = default_services(services).get(asked, asked)
    found: dict[str, Service] = {}
    for name, service in services.items():
        if asked not in {None, name} or not service.migrate or not engine_of(service.engine).migrates:
            continue
        for version in service.versions:
            shown = f"{name} {version}" if len(service.versions) > 1 else name
            found[shown] = msgspec.structs.replace(service, wanted=version)
    if found:
        return found
    engine = services[asked].engine if asked in services else asked
    if engine is not None and (engine not in known_engines() or not engine_of(engine).migrates):
        known = [each for each in known_engines() if engine_of(each).migrates]
        raise UsageError(
            "unknown-engine", f"engine '{asked}' does not support migrations", hint=f"supported: {', '.join(known)}"
        )
    raise PreconditionError(
        "no-migration",
        f"no migration command configured{f' for {asked}' if asked else ''}",
        hint=f'[tool.testgrove.services.{asked or next(iter(services), "NAME")}] migrate = "alembic upgrade head"',
    )


@frozen
class _Checkout:
    """The checkout whose migrations are checked. environ: a command's environment with one service's database."""

    tree: Path
    environ: Callable[[str, DatabaseAccess], Mapping[str, str]]


@contextmanager
def _checkout(project: Project, holder: Holder, worktree: str | None) -> Iterator[_Checkout]:
    top = project.repository.toplevel
    found = project.store.worktrees.at(top) if worktree is None else records.named(project, worktree)
    if found is None:
        here = find_environment(project, project.repository.toplevel)

        def around(name: str, access: DatabaseAccess) -> dict[str, str]:
            return here.environ | checkout_variables(project.settings, name, access)

        yield _Checkout(top, around)
        return
    held = records.take(project, holder, found, WorktreeStatus.READY)
    try:
        yield _Checkout(held.path, _inside(project, held))
    finally:
        records.update(project.store, held, holder=None)


def _inside(project: Project, worktree: WorktreeRecord) -> Callable[[str, DatabaseAccess], dict[str, str]]:
    def environ(name: str, access: DatabaseAccess) -> dict[str, str]:
        values = values_of(project, worktree.id, worktree.ports, {name: access}, plain=name)
        return with_environment(scrubbed(), worktree.path) | values

    return environ


@dataclass
class _Check:
    """One service's."""

    tool: Tool
    empty: EmptyDatabases
    migrator: Migrator
    name: str
    accepted: frozenset[str]
    say: Say
    drift: Drift = field(default_factory=Drift)

    def run(self) -> Checked:
        """See the module."""
        self.say(f"{self.name}: an empty database")
        self.found = Checked(self.name, self.tool.name)
        self.access = self.empty.make()
        listing = self._list()
        if listing is None:
            return self.found
        self.plan = steps(listing.migrations)
        self.found.steps = [step.name for step in self.plan]
        schemas = [read_schema(self.access)]
        if self._forward(schemas):
            self._compare_models()
            self._back(schemas)
            self._forward_again(schemas)
        self.empty.drop(self.access)
        return self.found

    def _list(self) -> Listing | None:
        """The migrations; None where there is nothing to go through."""
        output = ""
        if self.tool.listing:
            status, output = self.migrator.ask(self.tool.listing, self.access)
            if status:
                self._tell(Problem("cannot-be-listed", "", last_line(output), output=output))
                return None
        listing = self.tool.read(output)
        if listing.conflicts:
            self._tell(Problem("several-heads", "", f"found several newest migrations: {listing.conflicts}"))
            return None
        return listing

    def _forward(self, schemas: list[Schema]) -> bool:
        for step in self.plan:
            self.say(f"{self.name}: forward: {step.name}")
            if output := self._failure(step, self.access):
                self._tell(Problem("forward-failed", step.name, last_line(output), output=output))
                return False
            check_it_is_used(through(self.tool, step), self.access)
            schemas.append(read_schema(self.access))
        return True

    def _compare_models(self) -> None:
        if self.tool.models is None:
            self.found.models, self.found.reason = self.tool.judge(0, "")
            return
        self.say(f"{self.name}: the models against the migrated schema")
        models, reason = self.tool.judge(*self.migrator.ask(self.tool.models, self.access))
        self.found.models, self.found.reason = models, reason
        if models == "differ":
            message = "the models differ from the migrated schema"
            self._tell(Problem("models-differ", "", message, tuple(reason.splitlines())))
        elif models == "failed":
            self.found.reason = last_line(reason)
            self._tell(Problem("models-failed", "", f"the comparison failed: {last_line(reason)}", output=reason))

    def _back(self, schemas: Sequence[Schema]) -> None:
        for number, step in reversed(list(enumerate(self.plan))):
            self.say(f"{self.name}: back: {step.name}")
            problem = self._take_back(step)
            if problem is None:
                if diff := self.drift.new(schemas[number], read_schema(self.access)):
                    message = "migrating back does not restore the previous schema"
                    self._tell(Problem("leaves-behind", step.name, message, diff))
                continue
            self._tell(problem)
            self._renew(self.plan[:number])

    def _take_back(self, step: Step) -> Problem | None:
        accepted = not self.accepted.isdisjoint(name for each in step.migrations for name in (each.name, each.shown))
        try:
            self.migrator.do(back_through(self.tool, step), self.access)
        except UnavailableError as error:
            if error.code != FAILED:
                raise
            return way_back_failed(step.name, str(error.details["output"]), accepted)
        except PreconditionError as error:
            if error.code != "irreversible":
                raise
            return Problem("irreversible", step.name, error.message, accepted=accepted)
        return None

    def _renew(self, plan: Sequence[Step]) -> None:
        """Another database, taken forward through the first steps: they have been gone through once."""
        self.empty.drop(self.access)
        self.access, self.drift = self.empty.make(), Drift()
        for step in plan:
            self.migrator.do(through(self.tool, step), self.access)

    def _forward_again(self, schemas: Sequence[Schema]) -> None:
        for number, step in enumerate(self.plan, 1):
            self.say(f"{self.name}: forward again: {step.name}")
            if output := self._failure(step, self.access):
                message = f"migrating forward again failed: {last_line(output)}"
                self._tell(Problem("forward-again-failed", step.name, message, output=output))
                return
            if diff := self.drift.new(schemas[number], read_schema(self.access)):
                message = "migrating forward again gives a different schema than the first time"
                self._tell(Problem("forward-again-differs", step.name, message, diff))

    def _failure(self, step: Step, access: DatabaseAccess) -> str:
        """Return the output of a failed step; empty if it succeeded."""
        try:
            self.migrator.do(through(self.tool, step), access)
        except UnavailableError as error:
            if error.code != FAILED:
                raise
            return str(error.details["output"]) or "it failed without output"
        return ""

    def _tell(self, problem: Problem) -> None:
        self.found.problems.append(problem)
