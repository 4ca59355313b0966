"""The event loop: one thread owns the schedule and the log; slots only put events on its queue."""

from __future__ import annotations

import queue
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Protocol

from testgrove import __version__
from testgrove.app.attempts import Run
from testgrove.app.run_reports import EventLog
from testgrove.app.slots import Slot
from testgrove.core.events import AnyEvent, CellFinished, CellInfo, CellPhase, Interrupted, RunFinished, RunStarted
from testgrove.core.plan import Cell
from testgrove.core.result import Fold, RunResult
from testgrove.core.schedule import Instructions, Retry, Schedule

_TICK = 0.1  # seconds between two looks of the live view
_BEAT = 1.0  # seconds between two heartbeats in the log


class View(Protocol):
    """Shows a run while it goes on."""

    def start(self, result: RunResult) -> None: ...
    def update(self, result: RunResult, now: float) -> None: ...
    def stop(self, result: RunResult) -> None: ...


@dataclass
class EventLoop:
    """From the first cell to the last. jobs: how many run at once. again: the command that repeats the run.
    slot: what runs a cell."""

    run: Run
    cells: Sequence[Cell]
    schedule: Schedule
    jobs: int
    header: str
    view: View
    again: str = ""
    slot: type[Slot] = Slot

    def __post_init__(self) -> None:
        self._log = EventLog(self.run.folder)
        self._fold = Fold()
        self._beaten = time.monotonic()
        self._cells = {cell.key: cell for cell in self.cells}
        self._pauses: list[tuple[float, str]] = []  # when each ends, and whose it is

    def work(self) -> RunResult:
        """Run the cells; the result says how each ended. A Ctrl-C ends them, with a result, a second one kills."""
        started = time.time()
        self._take(self._opening(started))
        for key, wait in self.schedule.waiting().items():
            self._take(CellPhase(t=time.time(), cell=key, phase="waiting", reason=wait.text))
        self.view.start(self._fold.result)
        try:
            with ThreadPoolExecutor(self.jobs, thread_name_prefix="slot") as slots, self._interruptible():
                self._serve(slots)
            if self.run.coverage and not self.run.cancel.is_set():
                self._take(self.run.coverage.merge(self.run.folder))
        finally:
            self.view.stop(self._fold.result)
        self._take(RunFinished(t=time.time(), duration=time.time() - started))
        self._log.close()
        return self._fold.result

    def _opening(self, started: float) -> RunStarted:
        cells = tuple(
            CellInfo(
                key=cell.key,
                suite=cell.suite,
                ref=cell.ref,
                python=cell.python,
                worktree=str(cell.id),
                command=cell.settings.command,
                deps=cell.deps,
                versions=dict(cell.versions),
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
            again=self.again,
        )

    def _serve(self, slots: Executor) -> None:
        try:
            self._obey(slots, self.schedule.start())
            while not self.schedule.done:
                for event in self._events():
                    if isinstance(event, CellFinished):
                        self._obey(slots, self.schedule.finished(event.cell, event.status), event)
                    else:
                        self._take(event)
                    if self.run.cancel.is_set():
                        self._obey(slots, self.schedule.cancel())
                self._end_pauses(slots)
                self._beat()
                self.view.update(self._fold.result, time.time())
        except BaseException:
            # Leaving the pool waits for the slots, so they must be told.
            self.run.cancel.set()
            raise

    def _obey(self, slots: Executor, step: Instructions, told: CellFinished | None = None) -> None:
        """told: what the slot said of the attempt that has just ended; the schedule knows whether it was the last."""
        now = time.time()
        for end in step.ended:
            own = told if told and told.cell == end.key else None
            reason = "; ".join(filter(None, [own.reason if own else "", end.reason]))
            hint = own.hint if own else ""
            self._take(CellFinished(t=now, cell=end.key, status=end.status, reason=reason, hint=hint))
        for retry in step.retry:
            self._pause(retry)
        for start in step.start:
            slots.submit(self.slot(self.run, self._cells[start.key]).work)

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
        """What has happened since the last look, waiting a moment for the first."""
        try:
            yield self.run.inbox.get(timeout=_TICK)
            while True:
                yield self.run.inbox.get_nowait()
        except queue.Empty:
            return

    def _take(self, event: AnyEvent) -> None:
        self._log.append(event)
        self._fold.apply(event)

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
