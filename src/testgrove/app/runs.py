"""Runs: the plan, the event loop, and the end. `testgrove test` from top to bottom."""

from __future__ import annotations

import queue
import secrets
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Protocol

from testgrove import __version__
from testgrove.app import worktrees
from testgrove.app.creation import Target, git_excluded
from testgrove.app.holder import Holder
from testgrove.app.project import Project
from testgrove.app.run_databases import RunDatabases
from testgrove.app.run_reports import EventLog, write_reports
from testgrove.app.slots import Run, Slot
from testgrove.app.undo import undo
from testgrove.core import plan
from testgrove.core.events import (
    AnyEvent,
    CellFinished,
    CellInfo,
    CellPhase,
    Fold,
    Interrupted,
    RunFinished,
    RunResult,
    RunStarted,
)
from testgrove.core.model import Lease, LeaseKind
from testgrove.core.plan import Cell
from testgrove.core.schedule import Schedule
from testgrove.core.suites import find_suites
from testgrove.errors import UsageError
from testgrove.system import git, machine
from testgrove.system.files import explained
from testgrove.system.plugin import place_plugin

_TICK = 0.1  # seconds between two looks of the live view
_BEAT = 1.0  # seconds between two heartbeats in the log


class View(Protocol):
    """Shows a run while it goes on."""

    def start(self, result: RunResult) -> None: ...
    def update(self, result: RunResult, now: float) -> None: ...
    def stop(self, result: RunResult) -> None: ...


@dataclass(frozen=True)
class Request:
    """What the user asked `testgrove test` for. jobs: how many cells run at once, None for the machine's own number."""

    suites: Sequence[str] = ()
    refs: Sequence[str] = ()
    pythons: Sequence[str] = ()
    jobs: int | None = None
    arguments: Sequence[str] = ()


@dataclass(frozen=True)
class Finished:
    """A run that has ended. folder: where its reports are."""

    result: RunResult
    folder: Path


@dataclass
class _Interruption:
    """Ctrl-C: the first asks the cells to end, the second kills them."""

    cancel: threading.Event
    holder: Holder
    inbox: queue.SimpleQueue[AnyEvent]
    count: int = field(default=0)

    def __call__(self, number: int, _frame: FrameType | None) -> None:
        self.count += 1
        self.cancel.set()
        if self.count == 1:
            name = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
            self.inbox.put(Interrupted(t=time.time(), reason=f"interrupted by {name}"))
        else:
            self.holder.supervisors.close()


def plan_cells(project: Project, request: Request) -> tuple[Cell, ...]:
    """What would run. Raises UsageError for a suite that is not there, or when nothing is selected."""
    settings = project.settings
    suites = find_suites(settings, git.listed_files(project.repository.toplevel))
    chosen = plan.select(suites, request.suites)
    if request.jobs is not None and request.jobs < 1:
        raise UsageError("invalid-jobs", f"-j {request.jobs}: expected a number from 1")
    return plan.cells(chosen, request.refs, request.pythons or settings.pythons, arguments=request.arguments)


def run_tests(project: Project, request: Request, view: View) -> Finished:
    """Run suites × refs × interpreters, each cell in a worktree of its own, and report on them as one."""
    cells = plan_cells(project, request)
    targets = _targets(project, cells)
    with project.holding("testgrove test") as holder:
        run_id = time.strftime("%Y%m%d-%H%M%S-") + secrets.token_hex(2)
        folder = _make_folder(project, run_id)
        project.store.insert(
            "runs", id=run_id, project=project.id, folder=str(folder), started=time.time(), holder=holder.key
        )
        result = _hold_run(project, holder, request, cells, targets, run_id, folder, view)
        project.store.delete("runs", id=run_id)
        worktrees.trim_parked(project, holder, max(project.settings.park, len(cells)))
    return Finished(result, folder)


def _targets(project: Project, cells: Sequence[Cell]) -> dict[str, Target]:
    found: dict[str, Target] = {}
    for ref in dict.fromkeys(cell.ref for cell in cells):
        target = worktrees.target_of(project, ref or None)
        # Detached: a cell leaves the branch for the user, and many cells can test the same one.
        found[ref] = Target(target.commit, target.tree, "", target.label)
    return found


def _make_folder(project: Project, run_id: str) -> Path:
    git.exclude(project.repository, git_excluded(project))
    folder = project.artifacts / run_id
    with explained("make the run's folder", folder):
        folder.mkdir(parents=True)
    return folder


def _hold_run(
    project: Project,
    holder: Holder,
    request: Request,
    cells: Sequence[Cell],
    targets: dict[str, Target],
    run_id: str,
    folder: Path,
    view: View,
) -> RunResult:
    leases = project.store.leases(f"run:{run_id}")
    scratch, memory = project.locations.scratch / run_id[-11:], project.locations.memory / f"{run_id[-11:]}-m"
    inbox: queue.SimpleQueue[AnyEvent] = queue.SimpleQueue()
    cancel = threading.Event()
    databases = RunDatabases(project, holder, leases, memory, cancel)
    try:
        databases.find(cells)
        for place in (scratch, memory):
            leases.record(Lease(LeaseKind.DIRECTORY, str(place)))
            place.mkdir(mode=0o700)
        run = Run(
            project,
            holder,
            run_id,
            folder,
            scratch,
            place_plugin(project.locations.cache / "plugin"),
            inbox.put,
            cancel,
            databases,
            targets,
        )
        jobs = min(request.jobs or machine.default_jobs(), len(cells))
        with _interruptible(_Interruption(cancel, holder, inbox)):
            return _loop(run, cells, jobs, _header(cells, targets), inbox, view)
    finally:
        databases.close()
        undo(holder, leases)


def _loop(
    run: Run, cells: Sequence[Cell], jobs: int, header: str, inbox: queue.SimpleQueue[AnyEvent], view: View
) -> RunResult:
    """One thread owns the schedule and the log; slots only put events on its queue."""
    project = run.project
    schedule = Schedule(cells, jobs, durations(project))
    log, fold, started = EventLog(run.folder), Fold(), time.time()

    def take(event: AnyEvent) -> None:
        log.append(event)
        fold.apply(event)

    take(
        RunStarted(
            t=started,
            run=run.id,
            project=project.name,
            header=header,
            jobs=jobs,
            testgrove=__version__,
            cells=tuple(_info(cell) for cell in cells),
        )
    )
    with ThreadPoolExecutor(jobs, thread_name_prefix="slot") as slots:

        def start(chosen: Sequence[Cell]) -> None:
            for cell in chosen:
                slots.submit(Slot(run, cell).work)

        for cell in cells:
            take(CellPhase(t=time.time(), cell=cell.key, phase="waiting", reason="a free slot"))
        view.start(fold.result)
        start(schedule.start())
        beat = time.monotonic()
        while not schedule.done:
            for event in _events(inbox):
                take(event)
                if isinstance(event, CellFinished):
                    start(schedule.finished(event.cell))
                if run.cancel.is_set():
                    for cell in schedule.cancel():
                        take(
                            CellFinished(
                                t=time.time(),
                                cell=cell.key,
                                status="cancelled",
                                reason="the run was interrupted before this started",
                            )
                        )
            if time.monotonic() - beat > _BEAT:
                beat = time.monotonic()
                log.beat()
            view.update(fold.result, time.time())
    take(RunFinished(t=time.time(), duration=time.time() - started))
    log.close()
    view.stop(fold.result)
    write_reports(run.folder, fold.result, project.render)
    remember_durations(project, fold.result)
    return fold.result


def _events(inbox: queue.SimpleQueue[AnyEvent]) -> Iterator[AnyEvent]:
    """What has happened since the last look, waiting a moment for the first."""
    try:
        yield inbox.get(timeout=_TICK)
        while True:
            yield inbox.get_nowait()
    except queue.Empty:
        return


@contextmanager
def _interruptible(handler: _Interruption) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield  # used as a library from a thread: signals are the caller's
        return
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def _header(cells: Sequence[Cell], targets: dict[str, Target]) -> str:
    refs = dict.fromkeys(cell.ref for cell in cells)
    return ", ".join(f"{ref} ({targets[ref].commit[:10]})" if ref else targets[ref].label for ref in refs)


def _info(cell: Cell) -> CellInfo:
    return CellInfo(
        key=cell.key,
        suite=cell.suite,
        ref=cell.ref,
        python=cell.python,
        worktree=str(cell.id),
        command=cell.settings.command,
    )


def durations(project: Project) -> dict[str, float]:
    """Seconds that each cell took when it last ran to its end."""
    rows = project.store.rows("SELECT cell, seconds FROM durations WHERE project = ?", project.id)
    return {row["cell"]: row["seconds"] for row in rows}


def remember_durations(project: Project, result: RunResult) -> None:
    """Keep how long each cell took, for the next run's order."""
    with project.store.transaction() as db:
        for key, cell in result.cells.items():
            if cell.status in ("passed", "failed", "flaky") and cell.finished and cell.phases:
                work = [span for span in cell.phases if span.phase != "waiting"]
                db.execute(
                    "INSERT OR REPLACE INTO durations VALUES (?, ?, ?, ?)",
                    (project.id, key, cell.finished - work[0].start if work else 0.0, cell.finished),
                )
