"""The event loop: one thread owns the schedule and the log; slots only put events on its queue."""

from __future__ import annotations

import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Protocol

import msgspec

from testgrove import __version__
from testgrove.app.runs.log_and_reports import EventLog, load_reports
from testgrove.app.runs.run_context import RunContext
from testgrove.app.runs.slots import WorktreeSlot
from testgrove.core.frozen import frozen
from testgrove.core.runs.events import (
    AnyEvent,
    AttemptStarted,
    CellFinished,
    CellInfo,
    CellPhase,
    Interrupted,
    RunFinished,
    RunStarted,
    as_text,
)
from testgrove.core.runs.outcome import TIMED_OUT
from testgrove.core.runs.plan import Cell
from testgrove.core.runs.result import ResultBuilder, RunResult
from testgrove.core.scheduling.schedule import Instructions, Retry, Schedule

TIME_UP = "the run's timeout of "  # how the reason begins of what the run has ended, and goes on with when resumed
DISK_FULL = "no disk space is left in "
_TICK = 0.1  # seconds between two looks of the live view
_BEAT = 1.0  # seconds between two heartbeats in the log
_LOOK = 0.5  # seconds between two looks at what waits for what


class View(Protocol):
    """Shows a run while it goes on."""

    def start(self, result: RunResult) -> None: ...
    def update(self, result: RunResult, now: float) -> None: ...
    def stop(self, result: RunResult) -> None: ...


class Work(Protocol):
    """The work of one slot. Implements slots.Slot."""

    def work(self) -> None: ...


class MakeSlot(Protocol):
    """Makes the runner of an attempt at a cell; see slots.Slot."""

    def __call__(self, run: RunContext, cell: Cell, attempt: int, slot_number: int) -> Work: ...


@frozen
class Origin:
    """The origin of a run. again: the command that repeats it. source, base, resumed, fail_on_leak: see RunStarted.
    before: events of the run that it goes on with. began: when the command did, seconds since the epoch; 0 for now."""

    again: str = ""
    source: str = ""
    base: str = ""
    resumed: str = ""
    before: Sequence[AnyEvent] = ()
    fail_on_leak: bool = False
    began: float = 0.0


@dataclass
class EventLoop:
    """From the first cell to the last. jobs: how many run at once. slot: what runs a cell. timeout: seconds for the
    whole run. closing: what happens once every cell has ended, as events."""

    run: RunContext
    cells: Sequence[Cell]
    schedule: Schedule
    jobs: int
    header: str
    view: View
    origin: Origin = Origin()  # noqa: RUF009 - it is frozen
    slot: MakeSlot = WorktreeSlot
    timeout: float | None = None
    closing: Callable[[], Sequence[AnyEvent]] = tuple

    def __post_init__(self) -> None:
        self._log = EventLog(self.run.folder)
        self._builder = ResultBuilder()
        self._beaten = time.monotonic()
        self._cells = {cell.key: cell for cell in self.cells}
        self._pauses: list[tuple[float, str]] = []  # when each ends, and whose it is
        self._free_slots = list(range(1, self.jobs + 1))
        self._slot_of: dict[str, int] = {}
        self._waits: dict[str, str] = {}  # the last reported reason for waiting of each cell
        self._looked = 0.0
        self._warm = False
        self._ended_by = ""  # why the run ended what was running

    def work(self) -> RunResult:
        """Run the cells and return the result of each. Ctrl-C stops them, with a result; a second Ctrl-C kills."""
        started = self.origin.began or time.time()
        self._take(self._opening(started))
        for event in self.origin.before:
            self._take(event)
        self._say_waits()
        self.view.start(self._builder.result)
        try:
            with ThreadPoolExecutor(self.jobs, thread_name_prefix="slot") as slots, self._interruptible():
                self._serve(slots)
            self._log.make_room()
            self._await_leaks()
            if self.run.coverage and not self.run.cancel.is_set():
                self._take(self.run.coverage.merge(self.run.folder))
            for event in self.closing():
                self._take(event)
        finally:
            self.view.stop(self._builder.result)
        self._take(RunFinished(t=time.time(), duration=time.time() - started))
        self._log.close()
        return self._builder.result

    def _opening(self, started: float) -> RunStarted:
        cells = tuple(
            CellInfo(
                key=cell.key,
                suite=cell.suite,
                ref=cell.ref,
                python=cell.python,
                worktree=cell.scenario.worktree if cell.scenario else str(cell.id),
                command=cell.settings.command,
                deps=cell.deps,
                versions=dict(cell.versions),
                scenario=cell.scenario,
            )
            for cell in self.cells
        )
        return RunStarted(
            t=started,
            run=self.run.id,
            project=self.run.project.name,
            header=self.header,
            jobs=self.jobs,
            testgrove=__version__,
            cells=cells,
            seed=self.run.seed,
            again=self.origin.again,
            source=self.origin.source,
            base=self.origin.base,
            resumed=self.origin.resumed,
            fail_on_leak=self.origin.fail_on_leak,
        )

    def _serve(self, slots: Executor) -> None:
        deadline = time.monotonic() + self.timeout if self.timeout else None
        running = 0.0  # when the first attempt began
        try:
            self._obey(slots, self.schedule.start())
            while not self.schedule.done:
                if running and time.monotonic() - running > _TICK:
                    self._warm_up()  # not at once: a command that is being started must not wait for it
                for event in self._events():
                    if isinstance(event, CellFinished):
                        self._finished(slots, event)
                    else:
                        self._take(event)
                    if isinstance(event, AttemptStarted):
                        running = running or time.monotonic()
                    if self.run.cancel.is_set():
                        self._obey(slots, self.schedule.cancel())
                self._end_pauses(slots)
                if deadline and time.monotonic() > deadline and not self.run.cancel.is_set():
                    self._time_is_up(slots)
                if self._log.full and not self.run.cancel.is_set():
                    self._end_because(slots, f"{DISK_FULL}{self.run.folder}")
                self._look_at_waits()
                self._beat()
                self.view.update(self._builder.result, time.time())
        except BaseException:
            # Leaving the pool waits for the slots, so they must be cancelled first.
            self.run.cancel.set()
            raise

    def _warm_up(self) -> None:
        """Have what the reports need loaded while tests run, so that it is there at the end."""
        if not self._warm:
            self._warm = True
            threading.Thread(target=load_reports, args=(self.run.project.render,), name="reports").start()

    def _finished(self, slots: Executor, event: CellFinished) -> None:
        """An attempt has ended; the schedule knows whether it was the last."""
        self._free_slots.append(self._slot_of.pop(event.cell))
        self._free_slots.sort()
        if self._ended_by and event.status == "cancelled":
            event = msgspec.structs.replace(event, status="error", reason=self._ended_by)
        again = event.cell not in self.run.given_up
        verb = TIMED_OUT if event.status == "error" and event.reason.startswith(TIMED_OUT) else ""
        self._obey(slots, self.schedule.finished(event.cell, event.status, again=again, verb=verb), event)

    def _time_is_up(self, slots: Executor) -> None:
        self._end_because(slots, f"{TIME_UP}{self.timeout:g} s was over")

    def _end_because(self, slots: Executor, reason: str) -> None:
        """End what runs, which is its error then, and start nothing more."""
        self._ended_by = reason
        self.run.cancel.set()
        self._obey(slots, self.schedule.cancel(f"{reason} before this started"))

    def _look_at_waits(self) -> None:
        if self._builder.result.source and time.monotonic() - self._looked > _LOOK:
            self._looked = time.monotonic()
            self._say_waits()

    def _say_waits(self) -> None:
        """Report what each cell waits for, where that has changed in kind: of graphs, every step changes the names."""
        for key, wait in self.schedule.waiting().items():
            if self._waits.get(key) != wait.kind and wait.kind != "backoff":
                self._waits[key] = wait.kind
                self._take(CellPhase(t=time.time(), cell=key, phase="waiting", reason=wait.text))

    def _await_leaks(self) -> None:
        self.run.leaks.close()
        while not self.run.inbox.empty():
            self._take(self.run.inbox.get_nowait())

    def _obey(self, slots: Executor, step: Instructions, told: CellFinished | None = None) -> None:
        """told: the slot's result of the attempt that has just ended; the schedule knows whether it was the last."""
        now = time.time()
        for end in step.ended:
            own = told if told and told.cell == end.key else None
            reason = "; ".join(filter(None, [own.reason if own else "", end.reason]))
            hint = own.hint if own else ""
            self._take(CellFinished(t=now, cell=end.key, status=end.status, reason=reason, hint=hint))
        for retry in step.retry:
            self._pause(retry)
        for start in step.start:
            slot_number = self._slot_of[start.key] = self._free_slots.pop(0)
            self._waits.pop(start.key, None)
            slots.submit(self.slot(self.run, self._cells[start.key], start.attempt, slot_number).work)

    def _pause(self, retry: Retry) -> None:
        reason = f"a pause of {retry.after:g} s before attempt {retry.attempt}"
        self._take(CellPhase(t=time.time(), cell=retry.key, phase="waiting", reason=reason))
        self._pauses.append((time.monotonic() + retry.after, retry.key))

    def _end_pauses(self, slots: Executor) -> None:
        now = time.monotonic()
        due, self._pauses = [it for it in self._pauses if it[0] <= now], [it for it in self._pauses if it[0] > now]
        for _, key in due:
            self._obey(slots, self.schedule.rested(key))

    def _events(self) -> Iterator[AnyEvent]:
        """Return the events since the last look, waiting a moment for the first."""
        try:
            yield self.run.inbox.get(timeout=_TICK)
            while True:
                yield self.run.inbox.get_nowait()
        except queue.Empty:
            return

    def _take(self, event: AnyEvent) -> None:
        event = as_text(event)
        self._log.append(event)
        self._builder.apply(event)

    def _beat(self) -> None:
        if time.monotonic() - self._beaten > _BEAT:
            self._beaten = time.monotonic()
            self._log.beat()

    @contextmanager
    def _interruptible(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield  # used as a library from a thread: signals are the caller's
            return
        ours = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        numbers = [number for number in ours if signal.getsignal(number) is not signal.SIG_IGN]  # as nohup asks for
        before = {number: signal.signal(number, self._interrupted) for number in numbers}
        try:
            yield
        finally:
            for number, old in before.items():
                signal.signal(number, old)

    def _interrupted(self, number: int, _frame: FrameType | None) -> None:
        if self.run.cancel.is_set():
            self.run.holder.supervisors.close()
            return
        self.run.cancel.set()
        name = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
        self.run.inbox.put(Interrupted(t=time.time(), reason=f"interrupted by {name}"))
