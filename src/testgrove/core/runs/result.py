"""Computes a run's result from its events.

The log is the only source: fold() computes every report and the exit status from it, also for a run that was killed.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from testgrove.core.runs.events import (
    AnyEvent,
    AttemptFinished,
    AttemptStarted,
    CellFinished,
    CellInfo,
    CellPhase,
    CoverageMerged,
    Interrupted,
    LeakFound,
    Phase,
    ProcessFinished,
    ProcessStarted,
    RunFinished,
    RunStarted,
    Status,
    TestFinished,
    TestOutcome,
    TestRunning,
    TestsCollected,
    WorktreeAction,
    WorktreeChanged,
)
from testgrove.core.runs.leaks import LeakKind

LEAKS = 6  # the exit status


class TestResult(msgspec.Struct, kw_only=True):
    nodeid: str
    outcome: TestOutcome
    duration: float
    message: str = ""
    text: str = ""
    output: str = ""
    file: str = ""
    line: int = 0


class AttemptResult(msgspec.Struct, kw_only=True):
    """One try at a cell. running: when each test began that takes long and has not ended."""

    number: int
    started: float
    command: str
    python: str = ""
    log: str = ""
    commit: str = ""
    status: Status | None = None
    reason: str = ""
    exit_code: int | None = None
    duration: float = 0.0
    cpu: float = 0.0
    survivors: tuple[str, ...] = ()
    tail: str = ""
    slot: int = 0
    selected: int | None = None
    deselected: int = 0
    tests: list[TestResult] = msgspec.field(default_factory=list)
    running: dict[str, float] = msgspec.field(default_factory=dict)

    def count(self, *outcomes: TestOutcome) -> int:
        """Return how many of this attempt's tests ended in one of these outcomes."""
        return sum(test.outcome in outcomes for test in self.tests)


class ProcessResult(msgspec.Struct, kw_only=True):
    """An application process of one attempt. ended is None while it lives, or when the log ends."""

    name: str
    attempt: int
    command: str
    log: str
    started: float
    ended: float | None = None
    ready: float | None = None
    reason: str = ""
    tail: str = ""


class WorktreeNote(msgspec.Struct, kw_only=True):
    """Something that was done to a scenario's worktree."""

    worktree: str
    action: WorktreeAction
    path: str
    detail: str = ""


class LeakResult(msgspec.Struct, kw_only=True):
    """A leak: something that an attempt left behind."""

    attempt: int
    kind: LeakKind
    name: str
    detail: str = ""


class PhaseSpan(msgspec.Struct, kw_only=True):
    """One phase of a cell; end is None while it lasts, or when the log ends in it."""

    phase: Phase
    start: float
    end: float | None = None
    reason: str = ""
    slot: int = 0


class CellResult(msgspec.Struct, kw_only=True):
    info: CellInfo
    status: Status | None = None
    reason: str = ""
    hint: str = ""
    finished: float | None = None
    phases: list[PhaseSpan] = msgspec.field(default_factory=list)
    attempts: list[AttemptResult] = msgspec.field(default_factory=list)
    processes: list[ProcessResult] = msgspec.field(default_factory=list)
    leaks: list[LeakResult] = msgspec.field(default_factory=list)

    @property
    def last(self) -> AttemptResult | None:
        """The attempt that decided, where there was one."""
        return self.attempts[-1] if self.attempts else None

    @property
    def phase(self) -> PhaseSpan | None:
        """The cell's current or last phase."""
        return self.phases[-1] if self.phases else None


class RunResult(msgspec.Struct, kw_only=True):
    """The content of a log. complete: the log ends with RunFinished. coverage: percentage over all cells."""

    run: str = ""
    project: str = ""
    header: str = ""
    testgrove: str = ""
    jobs: int = 0
    seed: int | None = None
    again: str = ""
    source: str = ""
    base: str = ""
    resumed: str = ""
    merged: tuple[str, ...] = ()
    worktrees: list[WorktreeNote] = msgspec.field(default_factory=list)
    fail_on_leak: bool = False
    coverage: float | None = None
    coverage_note: str = ""
    started: float = 0.0
    ended: float = 0.0
    complete: bool = False
    interrupted: str = ""
    cells: dict[str, CellResult] = msgspec.field(default_factory=dict)

    @property
    def duration(self) -> float:
        return max(0.0, self.ended - self.started)

    def count(self, *statuses: Status) -> int:
        """Return how many cells ended in one of these statuses."""
        return sum(cell.status in statuses for cell in self.cells.values())

    @property
    def exit_status(self) -> int:
        """0 all passed (or skipped their own tests), 1 something failed, could not run or was never tried, 6 something
        was left behind and that is to fail, 130 interrupted."""
        if self.interrupted:
            return 130
        good = self.count("passed", "flaky", "skipped")
        untried = any(cell.status == "skipped" and not cell.attempts for cell in self.cells.values())
        nothing = all(cell.status == "skipped" and not (cell.last and cell.last.tests) for cell in self.cells.values())
        if not self.cells or good < len(self.cells) or untried or nothing:
            return 1
        return LEAKS if self.fail_on_leak and any(cell.leaks for cell in self.cells.values()) else 0


class ResultBuilder:
    """Applies events one by one; `result` is up to date after each. Used live by the terminal and at once by fold()."""

    def __init__(self) -> None:
        self.result = RunResult()

    def apply(self, event: AnyEvent) -> None:
        """Take one event into account."""
        self.result.ended = max(self.result.ended, event.t)
        match event:
            case RunStarted():
                self._start(event)
            case Interrupted():
                self.result.interrupted = event.reason
            case CoverageMerged():
                self.result.coverage, self.result.coverage_note = event.total, event.note
            case WorktreeChanged():
                note = WorktreeNote(worktree=event.worktree, action=event.action, path=event.path, detail=event.detail)
                self.result.worktrees.append(note)
            case RunFinished():
                self.result.complete = True
            case _:
                self._apply_to_cell(self.result.cells[event.cell], event)

    def _start(self, event: RunStarted) -> None:
        result = self.result
        result.run, result.project, result.header = event.run, event.project, event.header
        result.testgrove, result.jobs, result.started = event.testgrove, event.jobs, event.t
        result.seed, result.again, result.fail_on_leak = event.seed, event.again, event.fail_on_leak
        result.source, result.base, result.resumed = event.source, event.base, event.resumed
        result.merged = event.merged
        result.cells = {info.key: CellResult(info=info) for info in event.cells}

    def _apply_to_cell(self, cell: CellResult, event: AnyEvent) -> None:
        match event:
            case CellPhase():
                self._close_phase(cell, event.t)
                cell.phases.append(PhaseSpan(phase=event.phase, start=event.t, reason=event.reason, slot=event.slot))
            case AttemptStarted():
                cell.attempts.append(_attempt(event))
            case TestsCollected() | TestRunning() | TestFinished() | AttemptFinished():
                self._apply_to_attempt(cell.attempts[-1], event)
            case ProcessStarted() | ProcessFinished():
                self._apply_to_process(cell, event)
            case LeakFound():
                leak = LeakResult(attempt=event.attempt, kind=event.kind, name=event.name, detail=event.detail)
                cell.leaks.append(leak)
            case CellFinished():
                self._close_phase(cell, event.t)
                cell.status, cell.finished = event.status, event.t
                cell.reason, cell.hint = event.reason, event.hint

    @staticmethod
    def _apply_to_attempt(
        attempt: AttemptResult, event: TestsCollected | TestRunning | TestFinished | AttemptFinished
    ) -> None:
        match event:
            case TestsCollected():
                attempt.selected, attempt.deselected = event.selected, event.deselected
            case TestRunning():
                attempt.running[event.nodeid] = event.t - event.elapsed
            case TestFinished():
                attempt.tests.append(_test(event))
                attempt.running.pop(event.nodeid, None)
            case AttemptFinished():
                attempt.running.clear()
                attempt.status, attempt.reason, attempt.exit_code = event.status, event.reason, event.exit_code
                attempt.duration, attempt.cpu, attempt.tail = event.duration, event.cpu, event.tail
                attempt.survivors = event.survivors

    @staticmethod
    def _apply_to_process(cell: CellResult, event: ProcessStarted | ProcessFinished) -> None:
        if isinstance(event, ProcessStarted):
            cell.processes.append(
                ProcessResult(
                    name=event.process,
                    attempt=event.attempt,
                    command=event.command,
                    log=event.log,
                    started=event.t,
                )
            )
            return
        for process in cell.processes:
            if (process.name, process.attempt) == (event.process, event.attempt):
                process.ended, process.ready = event.t, event.ready
                process.reason, process.tail = event.reason, event.tail

    @staticmethod
    def _close_phase(cell: CellResult, t: float) -> None:
        if cell.phases and cell.phases[-1].end is None:
            cell.phases[-1].end = t


def _attempt(event: AttemptStarted) -> AttemptResult:
    return AttemptResult(
        number=event.attempt,
        started=event.t,
        command=event.command,
        python=event.python,
        log=event.log,
        commit=event.commit,
        slot=event.slot,
    )


def _test(event: TestFinished) -> TestResult:
    return TestResult(
        nodeid=event.nodeid,
        outcome=event.outcome,
        duration=event.duration,
        message=event.message,
        text=event.text,
        output=event.output,
        file=event.file,
        line=event.line,
    )


def fold(events: Iterable[AnyEvent]) -> RunResult:
    """Compute a run's result from its events, in their order.

    A cell whose end the log does not hold (the run was killed) becomes ``cancelled``, or ``error`` if it was running.
    """
    builder = ResultBuilder()
    for event in events:
        builder.apply(event)
    result = builder.result
    if not result.complete and result.cells and not result.interrupted:
        result.interrupted = "the run was killed before the end"
    for cell in result.cells.values():
        if cell.status is None:
            started = bool(cell.attempts)
            cell.status = "error" if started else "cancelled"
            cell.reason = "the run ended while this was running" if started else "the run ended before this started"
    return result
