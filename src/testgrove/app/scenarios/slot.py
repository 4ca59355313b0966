"""Runs one attempt of one scenario in a slot, in the scenario's unchanged worktree."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from testgrove.app.runs.attempts import Attempt
from testgrove.app.runs.exclusive import CellLock
from testgrove.app.runs.here import CheckoutInPlace
from testgrove.app.runs.run_context import RunContext
from testgrove.app.runs.slots import Slot, told_of
from testgrove.app.scenarios.worktrees import ScenarioWorktree, ScenarioWorktrees
from testgrove.app.worktrees.user_commands import variables_of
from testgrove.core.envfile import parse
from testgrove.core.model import DatabaseAccess, WorktreeSpec
from testgrove.core.runs.events import Status, WorktreeAction, WorktreeChanged
from testgrove.core.runs.plan import Cell
from testgrove.system.files import read_env_file


@dataclass
class ScenarioLocation(CheckoutInPlace):
    """A scenario's worktree, with the databases that this scenario gets. prepared: the worktree itself. own_ports: its
    ports are those of its slot, not of the worktree. files: a folder of this attempt's own."""

    prepared: ScenarioWorktree = field(kw_only=True)
    own_ports: bool = field(kw_only=True)
    files: Path = field(kw_only=True)

    @property
    def tree(self) -> Path:
        """Implement Workspace."""
        return self.prepared.path

    @property
    def database_folder(self) -> Path:
        """Implement Workspace. Not the worktree: others run there, too, and it may be a user's."""
        return self.files

    def environ_with(self, databases: Mapping[str, DatabaseAccess], *, plain: str = "") -> dict[str, str]:
        """As a command in the worktree has it; then what is this scenario's own."""
        environ = super().environ_with(databases, plain=plain)
        if self.prepared.worktree is None:
            return environ
        own = variables_of(self.prepared.worktree)
        if databases or self.own_ports:  # the scenario's, in the place of the worktree's
            own = {name: value for name, value in own.items() if name not in environ}
        return environ | own | {"WORKTREE_ID": str(self.prepared.worktree.id)}

    def set_variables(self) -> set[str]:
        """Implement Workspace."""
        return super().set_variables() | set(variables_of(self.prepared.worktree) if self.prepared.worktree else ())

    def own_variables(self) -> Mapping[str, str]:
        """Implement Workspace. Of a worktree that a user has made: what its env file names is its own."""
        path = self.tree / self.project.settings.env_file
        return parse(read_env_file(path)) if self.prepared.worktree is None and path.is_file() else {}

    def check(self) -> None:
        """Promise 3, once for a worktree and what a scenario adds to its environment."""
        key = frozenset(self.suite_env.items())
        with self.prepared.guard:
            if key not in self.prepared.checked:
                super().check()
                self.prepared.checked.add(key)


class ScenarioSlot(Slot[ScenarioLocation]):
    """Runs one attempt at a scenario; the schedule knows whether there is another."""

    def __init__(
        self, worktrees: ScenarioWorktrees, run: RunContext, cell: Cell, attempt: int, slot_number: int
    ) -> None:
        super().__init__(run, cell, attempt, slot_number)
        self._worktrees = worktrees

    def _cell(self) -> tuple[Status, str, str]:
        run, cell = self.run, self.cell
        with CellLock(run.project, run.cancel, partial(self._phase, "waiting")) as lock:
            lock.take(exclusive=False)
            location = None
            try:
                location = self._prepare()
                if cell.settings.exclusive:
                    lock.take(exclusive=True, worktree=str(cell.id))
                with run.holder.supervisors.borrow() as supervisor:
                    self._phase("running")
                    status, reason = Attempt(run, cell, location, supervisor, self.attempt, self.slot_number).work()
            finally:
                if location and cell.settings.services:
                    run.leaks.settle(location.tree)
                run.databases.release(cell)
        return told_of(location, status, reason)

    def _prepare(self) -> ScenarioLocation:
        run, cell = self.run, self.cell
        assert cell.scenario is not None
        self._phase("worktree")
        prepared = self._worktrees.ready(cell.scenario.worktree, self._phase, self._tell, run.folder)
        # A worktree's ports are for one at a time, and a user's worktree has none.
        own_ports = prepared.worktree is None or (cell.scenario.shareable and bool(prepared.worktree.ports))
        of_worktree = prepared.worktree.ports if prepared.worktree else {}
        ports = self._worktrees.ports_of_slot(self.slot_number, run.id) if own_ports else of_worktree
        location = ScenarioLocation(
            run.project,
            run.holder,
            WorktreeSpec(cell.id, None),
            prepared.target,
            self._phase,
            run.folder,
            making=run.databases.for_cell(cell),
            suite_env=cell.settings.env,
            found=prepared.environment,
            leased=ports,
            prepared=prepared,
            own_ports=own_ports,
            files=run.scratch / f"{cell.folder}-{self.attempt}d",
        )
        if location.making is None:
            location.check()
            return location
        try:
            location.prepare(f"run:{run.id}")
        except BaseException:
            location.making.abandon()
            raise
        return location

    def _put_away(self, workspace: ScenarioLocation, status: Status) -> None:
        """Nothing: the worktree is the run's, or a user's, and other scenarios run in it."""

    def _tell(self, worktree: str, action: WorktreeAction, path: Path, detail: str) -> None:
        event = WorktreeChanged(t=time.time(), worktree=worktree, action=action, path=str(path), detail=detail)
        self.run.emit(event)
