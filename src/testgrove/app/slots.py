"""What one slot does with one cell: its worktree, its attempts, its end."""

from __future__ import annotations

import time
import traceback
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from threading import Event as Flag

from testgrove.app import records, worktrees
from testgrove.app.creation import Creation, Target, foreign_checkouts
from testgrove.app.holder import Holder
from testgrove.app.junit_input import read_junit
from testgrove.app.project import Project
from testgrove.app.run_databases import RunDatabases
from testgrove.app.session_log import SessionLog
from testgrove.core.events import AnyEvent, AttemptFinished, AttemptStarted, CellFinished, CellPhase, Phase, Status
from testgrove.core.model import WorktreeSpec
from testgrove.core.outcome import Ending, is_pytest, judge, judge_junit
from testgrove.core.plan import Cell
from testgrove.errors import PreconditionError, TestgroveError
from testgrove.system.plugin import injected_environment
from testgrove.system.supervision import Job, JobResult, Supervisor

GRACE = 5.0
_STAND_INS = 32
_TAIL_BYTES = 4000


@dataclass(frozen=True)
class Run:
    """What all slots of a run share. targets: what each ref means, by the ref as the user wrote it."""

    project: Project
    holder: Holder
    id: str
    folder: Path
    scratch: Path
    plugin: Path
    inbox: SimpleQueue[AnyEvent]
    cancel: Flag
    databases: RunDatabases
    targets: dict[str, Target]

    def emit(self, event: AnyEvent) -> None:
        """Put an event on the run's queue."""
        self.inbox.put(event)


class Slot:
    """Runs one cell to its end; every failure becomes the cell's outcome."""

    def __init__(self, run: Run, cell: Cell) -> None:
        self.run, self.cell = run, cell

    def work(self) -> None:
        """The whole cell. Never raises: what went wrong is in the event that ends it."""
        status: Status = "cancelled"
        reason, hint = "the run was interrupted", ""
        try:
            if not self.run.cancel.is_set():
                status, reason = self._cell()
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
        self.run.emit(CellPhase(t=time.time(), cell=self.cell.key, phase=phase, reason=reason))

    def _cell(self) -> tuple[Status, str]:
        run = self.run
        try:
            creation = self._prepare()
            try:
                status, reason = self._attempts(creation)
            finally:
                run.emit(CellPhase(t=time.time(), cell=self.cell.key, phase="collecting"))
                run.databases.release(self.cell)
                worktrees.park(run.project, run.holder, creation.row, collect_into=run.folder / creation.row["id"])
        finally:
            run.databases.release(self.cell)
        return status, "; ".join(filter(None, [reason, *creation.notes]))

    def _prepare(self) -> Creation:
        run, cell = self.run, self.cell
        self._phase("worktree")
        for number in range(1, _STAND_INS + 1):
            spec = WorktreeSpec(
                cell.numbered(number),
                cell.ref or None,
                python=cell.python or None,
                ports=run.project.settings.ports.names if cell.settings.ports else (),
            )
            try:
                return worktrees.create(
                    run.project,
                    run.holder,
                    spec,
                    run.targets[cell.ref],
                    on_phase=self._phase,
                    run=run.id,
                    databases=run.databases.for_cell(cell),
                    suite_env=cell.settings.env,
                )
            except PreconditionError as error:
                # Somebody else's worktree, or one with a user's files: it is left alone and a stand-in is made.
                if error.code not in (
                    "worktree-held",
                    "worktree-exists",
                    "worktree-dirty",
                    "held",
                    "path-exists",
                ):
                    raise
        raise PreconditionError(
            "worktrees-held",
            f"{_STAND_INS} worktrees {cell.id} … are all held or dirty",
            hint="testgrove list",
        )

    def _attempts(self, creation: Creation) -> tuple[Status, str]:
        run, cell = self.run, self.cell
        failed_before = False
        with run.holder.supervisors.borrow() as supervisor:
            for attempt in range(1, cell.settings.retries + 2):
                self._phase("running")
                records.update(run.project.store, creation.row, attempt_from=time.time())
                status, reason = self._attempt(creation, supervisor, attempt)
                if status in ("passed", "skipped"):
                    return ("flaky" if failed_before and status == "passed" else status), reason
                if status == "cancelled" or not supervisor.alive:
                    break
                failed_before = True
        return status, reason

    def _attempt(self, creation: Creation, supervisor: Supervisor, attempt: int) -> tuple[Status, str]:
        run, cell = self.run, self.cell
        folder = run.folder / creation.row["id"]
        folder.mkdir(parents=True, exist_ok=True)
        output = folder / ("output.log" if attempt == 1 else f"output-{attempt}.log")
        session, temporary = (run.scratch / f"{creation.row['id']}-{attempt}{kind}" for kind in ("", "t"))
        session.mkdir()
        temporary.mkdir()
        run.emit(
            AttemptStarted(
                t=time.time(),
                cell=cell.key,
                attempt=attempt,
                command=cell.settings.command,
                worktree=creation.row["id"],
                python=creation.row["python"],
                log=str(output.relative_to(run.folder)),
                commit=creation.target.commit,
            )
        )
        log = SessionLog(session, creation.tree, cell.key, attempt)
        supervisor.start_job(
            Job(
                argv=shell_or_exec(cell.settings.command),
                cwd=creation.tree,
                output=output,
                env=self._environ(creation, session, temporary),
                timeout=cell.settings.timeout,
                grace=GRACE,
            )
        )
        result = self._follow(supervisor, log)
        ending = Ending(
            result.exit_code,
            result.signal,
            result.timed_out,
            result.cancelled,
            result.lost,
            cell.settings.timeout,
        )
        status, reason = judge(ending, log.facts, pytest=is_pytest(cell.settings.command))
        if cell.settings.junit and not log.facts.claimed and status != "cancelled":
            status, reason = self._judge_junit(creation.tree / cell.settings.junit, attempt, status, reason)
        run.emit(
            AttemptFinished(
                t=time.time(),
                cell=cell.key,
                attempt=attempt,
                status=status,
                reason=reason,
                exit_code=result.exit_code,
                duration=result.duration,
                cpu=result.user_cpu + result.system_cpu,
                survivors=result.survivors,
                tail=_tail(output) if status not in ("passed", "skipped") else "",
            )
        )
        return status, reason

    def _judge_junit(self, path: Path, attempt: int, status: Status, reason: str) -> tuple[Status, str]:
        try:
            events = list(read_junit(path, self.cell.key, attempt))
        except PreconditionError as error:
            return ("error", error.message) if status == "passed" else (status, reason)
        for event in events:
            self.run.emit(event)
        return judge_junit(Counter(event.outcome for event in events), status, reason)

    def _environ(self, creation: Creation, session: Path, temporary: Path) -> dict[str, str]:
        environ = creation.suite_environ()
        environ["TESTGROVE_PORTS"] = ",".join(creation.row["ports"])
        environ["TMPDIR"] = str(temporary)
        return injected_environment(
            environ,
            self.run.plugin,
            session,
            creation.tree,
            foreign_checkouts(self.run.project, creation.tree),
        )

    def _follow(self, supervisor: Supervisor, log: SessionLog) -> JobResult:
        told = False
        while (result := supervisor.wait(0.1)) is None:
            for event in log.read():
                self.run.emit(event)
            if self.run.cancel.is_set() and not told:
                supervisor.end(GRACE)
                told = True
        for event in log.read():
            self.run.emit(event)
        return result


def shell_or_exec(command: str) -> list[str]:
    """A suite's command as an argument list; by the shell only where it uses the shell."""
    import shlex  # noqa: PLC0415 - used here alone

    if any(character in command for character in "|&;<>()$`*?[]#~\n") or "=" in command.split(maxsplit=1)[0]:
        return ["/bin/sh", "-c", command]
    try:
        return shlex.split(command)
    except ValueError as error:
        raise PreconditionError("command-unreadable", f"{command!r} cannot be split into words: {error}") from error


def _tail(path: Path) -> str:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""
