"""One slot's work on one cell: its workspace, its attempts, its end."""

from __future__ import annotations

import time
import traceback
from abc import ABC, abstractmethod
from functools import partial
from typing import Generic, TypeVar

from testgrove.app.isolation import told
from testgrove.app.runs.attempts import Attempt
from testgrove.app.runs.exclusive import CellLock
from testgrove.app.runs.run_context import RunContext
from testgrove.app.worktrees import operations
from testgrove.app.worktrees.creation import Creation
from testgrove.app.worktrees.ports import exchange_taken
from testgrove.app.worktrees.workspace import Workspace
from testgrove.core.model import WorktreeSpec
from testgrove.core.naming import run_folder
from testgrove.core.runs.events import CellFinished, CellPhase, Phase, Status
from testgrove.core.runs.plan import Cell
from testgrove.errors import PreconditionError, TestgroveError
from testgrove.system.undeletable import CODE as UNDELETABLE

_STAND_INS = 32
# A worktree in use, or one with a user's files: it is left alone and a substitute is created.
_LEFT_ALONE = {
    "worktree-held", "worktree-exists", "worktree-dirty", "mounted-inside", "held", "path-exists", UNDELETABLE
}  # fmt: skip
W = TypeVar("W", bound=Workspace)


def told_of(workspace: Workspace, status: Status, reason: str) -> tuple[Status, str, str]:
    """Return how a cell ended, with what its workspace has to tell."""
    hint = workspace.hint if status in ("failed", "error") else ""
    return status, "; ".join(filter(None, [reason, *dict.fromkeys(workspace.notes)])), hint


class Slot(ABC, Generic[W]):
    """Runs one cell to its end; every failure becomes the cell's outcome.

    attempt: which one of the schedule's this is, from 1. slot_number: the slot's number, from 1.
    """

    def __init__(self, run: RunContext, cell: Cell, attempt: int, slot_number: int) -> None:
        self.run, self.cell, self.attempt, self.slot_number = run, cell, attempt, slot_number

    def work(self) -> None:
        """The whole cell. Never raises: what went wrong is in the event that ends it."""
        status: Status = "cancelled"
        reason, hint = "the run was interrupted", ""
        try:
            if not self.run.cancel.is_set():
                status, reason, hint = self._cell()
        except TestgroveError as error:
            cancelled = self.run.cancel.is_set()
            status, hint = ("cancelled" if cancelled else "error"), error.hint
            reason = "; ".join([error.message, *getattr(error, "__notes__", [])])
        except Exception:  # noqa: BLE001 - a bug in one cell must not take the others' reports with it
            status, reason = "error", "a bug in testgrove: " + traceback.format_exc()
        self.run.emit(CellFinished(t=time.time(), cell=self.cell.key, status=status, reason=reason, hint=hint))

    def _phase(self, phase: Phase, reason: str = "") -> None:
        if self.run.cancel.is_set():
            raise PreconditionError("cancelled", "the run was interrupted")
        self.run.emit(CellPhase(t=time.time(), cell=self.cell.key, phase=phase, reason=reason, slot=self.slot_number))

    def _cell(self) -> tuple[Status, str, str]:
        """The cell's status, its reason and a hint."""
        run = self.run
        status: Status = "error"
        try:
            with CellLock(run.project, run.cancel, partial(self._phase, "waiting")) as lock:
                lock.take(exclusive=False)
                workspace = self._prepare()
                try:
                    if self.cell.settings.exclusive:
                        lock.take(exclusive=True, worktree=str(workspace.spec.id))
                    status, reason = self._attempts(workspace)
                finally:
                    run.emit(CellPhase(t=time.time(), cell=self.cell.key, phase="collecting"))
                    run.leaks.settle(workspace.tree)
                    self._put_away(workspace, status)
        finally:
            run.databases.release(self.cell)
        return told_of(workspace, status, reason)

    @abstractmethod
    def _prepare(self) -> W:
        """The workspace, ready. Raises TestgroveError where it cannot be."""

    @abstractmethod
    def _put_away(self, workspace: W, status: Status) -> None:
        """Let the workspace go, with its databases. status: how the cell ended."""

    def _begin_attempt(self, workspace: W) -> None:
        """Prepare an attempt; by default nothing."""

    def _attempts(self, workspace: W) -> tuple[Status, str]:
        run, cell = self.run, self.cell
        failed_before = False
        with run.holder.supervisors.borrow() as supervisor:
            for attempt in range(1, cell.settings.retries + 2):
                self._phase("processes" if cell.settings.processes else "running")
                self._begin_attempt(workspace)
                status, reason = Attempt(run, cell, workspace, supervisor, attempt, self.slot_number).work()
                if status in ("passed", "skipped"):
                    return ("flaky" if failed_before and status == "passed" else status), reason
                if status == "cancelled" or cell.key in run.given_up or not supervisor.alive:
                    break
                failed_before = True
        return status, reason


class WorktreeSlot(Slot[Creation]):
    """Runs a cell in a worktree of the run's own, which is parked or kept afterwards."""

    def _put_away(self, workspace: Creation, status: Status) -> None:
        run, worktree = self.run, workspace.worktree
        folder = run.folder / str(workspace.spec.id)
        workspace.note_shared_changes()
        if not run.keep_failed or status not in ("failed", "error") or run.cancel.is_set():
            run.databases.release(self.cell)
            contents = run.leaks.settle(workspace.tree)
            left = operations.park(workspace.project, run.holder, worktree, collect_into=folder, contents=contents)
            workspace.notes += filter(None, [left])
            return
        from testgrove.app.failures.cells import dump_databases, note_of  # noqa: PLC0415 - for --keep-failed
        from testgrove.app.launcher import SupervisedLauncher  # noqa: PLC0415 - only in a run

        dumped = dump_databases(workspace, folder, SupervisedLauncher(run.holder.supervisors, run.cancel))
        note = note_of(self.cell.key, status, run.id, dumped)
        run.databases.release(self.cell)
        left = operations.keep(workspace.project, run.holder, worktree, collect_into=folder, note=note)
        workspace.notes += filter(None, [left, f"kept in {workspace.tree}"])

    def _prepare(self) -> Creation:
        self._phase("worktree")
        aside: list[str] = []
        for number in range(1, _STAND_INS + 1):
            try:
                creation = self._create(self._spec(number))
            except PreconditionError as error:
                if error.code not in _LEFT_ALONE:
                    raise
                aside += [f"set aside: {told(error)}"] if error.code == UNDELETABLE else []
            else:
                creation.notes += aside
                return creation
        raise PreconditionError(
            "worktrees-held",
            f"{_STAND_INS} worktrees {self.cell.id} … are all held or dirty",
            hint="testgrove list",
        )

    def _spec(self, number: int) -> WorktreeSpec:
        """The cell's worktree, or a stand-in for it; number: from 1."""
        run, cell = self.run, self.cell
        wanted = cell.numbered(number)
        return WorktreeSpec(
            wanted,
            cell.ref or None,
            python=cell.python or None,
            deps=cell.deps or None,
            ports=run.project_of(cell).settings.ports.names if cell.settings.ports else (),
            path=run.project.root / run_folder(wanted),
            directory=cell.settings.directory,
        )

    def _create(self, spec: WorktreeSpec) -> Creation:
        run, cell = self.run, self.cell
        return operations.create(
            run.project_of(cell),
            run.holder,
            spec,
            run.targets[cell.ref],
            on_phase=self._phase,
            run=run.id,
            logs=run.folder,
            databases=run.databases.for_cell(cell),
            suite_env=cell.settings.env,
        )

    def _begin_attempt(self, workspace: Creation) -> None:
        workspace.update(attempt_from=time.time())
        # No command runs in it yet.
        workspace.worktree = exchange_taken(workspace.project, workspace.worktree) or workspace.worktree
