"""Runs: the plan, what the run holds, and the end. `testgrove test` from top to bottom."""

from __future__ import annotations

import queue
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from testgrove.app.connections.watch import ConnectionWatch
from testgrove.app.databases.run import RunDatabases
from testgrove.app.holder import Holder
from testgrove.app.isolation import told
from testgrove.app.project import Project
from testgrove.app.runs.event_loop import EventLoop, MakeSlot, Origin, View
from testgrove.app.runs.leaks import LeakWatch
from testgrove.app.runs.log_and_reports import write_reports
from testgrove.app.runs.newly_skipped import notes_on_skipped
from testgrove.app.runs.run_context import RunContext
from testgrove.app.runs.slots import WorktreeSlot
from testgrove.app.runs.start_gate import StartGate
from testgrove.app.runs.suites import Suites, selected
from testgrove.app.worktrees import operations, removal
from testgrove.app.worktrees.creation import FREE_BYTES, git_excluded
from testgrove.app.worktrees.undo import undo
from testgrove.app.worktrees.workspace import Target
from testgrove.core.environments.dependency_sets import find_set
from testgrove.core.frozen import frozen
from testgrove.core.model import Lease, LeaseKind
from testgrove.core.runs import plan
from testgrove.core.runs.events import AnyEvent
from testgrove.core.runs.leaks import LeakChecks
from testgrove.core.runs.plan import Cell
from testgrove.core.runs.result import RunResult
from testgrove.core.scheduling.schedule import Schedule
from testgrove.core.scheduling.tasks import Task
from testgrove.errors import UsageError
from testgrove.system import git, machine
from testgrove.system.environment import interpreters
from testgrove.system.files import explained, require_free
from testgrove.system.plugin import place_plugin
from testgrove.system.processes import process
from testgrove.system.store.runs import RunRecord

if TYPE_CHECKING:
    from testgrove.app.runs.coverage import RunCoverage


@frozen
class RunRequest:
    """The user's request to `testgrove test`. suites: their names, paths of tests, node ids. sets: names of
    dependency sets. jobs: how many cells run at once, None for the machine's own number. seed: of a random order of the
    tests. again: the command that repeats the run. cov: measure coverage. keep_failed: leave the worktrees of cells
    that fail to people. here: run in the current checkout. leak_checks: how much is looked at after an attempt;
    fail_on_leak: a leak makes the exit status 6."""

    suites: Sequence[str] = ()
    refs: Sequence[str] = ()
    pythons: Sequence[str] = ()
    sets: Sequence[str] = ()
    jobs: int | None = None
    arguments: Sequence[str] = ()
    seed: int | None = None
    again: str = ""
    cov: bool = False
    keep_failed: bool = False
    here: bool = False
    fail_on_leak: bool = False
    leak_checks: LeakChecks = "all"


@frozen
class FinishedRun:
    """A run that has ended. folder: where its reports are. notes: what was kept of worktrees that it has removed,
    what could not be deleted, and tests that were skipped and had run before."""

    result: RunResult
    folder: Path
    notes: Sequence[str] = ()


def plan_cells(project: Project, request: RunRequest) -> tuple[Cell, ...]:
    """Return the cells that would run. Raises UsageError for an unknown suite or dependency set, or an empty selection,
    PreconditionError for an interpreter that is missing."""
    require_free(project.root, FREE_BYTES)
    chosen = selected(project, request.suites, there=not request.refs)
    if request.jobs is not None and request.jobs < 1:
        raise UsageError("invalid-jobs", f"-j {request.jobs}: expected a number from 1")
    if "" in request.refs:  # a variable that is not set: not the working tree, which an empty ref would mean below
        raise UsageError("invalid-ref", "--ref must not be empty", hint="remove --ref to test the working tree")
    if request.cov and len(set(request.refs)) > 1:
        raise UsageError(
            "cov-refs", "--cov accepts only one --ref", hint="run `testgrove test --cov` once for each --ref"
        )
    for python in request.pythons:  # one that the settings name and this machine lacks fails its cell alone
        interpreters.find(python, requires=None, pinned=None, run=process.run)
    cells = tuple(
        cell
        for subproject in dict.fromkeys(chosen.subprojects.values())
        for cell in _cells_of(project.at(subproject), request, chosen)
    )
    if not request.here:
        return cells
    from testgrove.app.runs.here import here_cells  # noqa: PLC0415 - for --here

    return here_cells(project, cells)


def _cells_of(project: Project, request: RunRequest, chosen: Suites) -> Iterator[Cell]:
    """The cells of one sub-project, by its settings."""
    settings = project.settings
    for name in request.sets:
        find_set(settings, name)
    pythons = request.pythons or (() if request.here else settings.pythons)
    versions = {name: service.versions for name, service in settings.services.items()}
    suites = {name: suite for name, suite in chosen.whole.items() if chosen.subprojects[name] == project.directory}
    for cell in plan.cells(suites, request.refs, pythons, request.sets, versions, arguments=request.arguments):
        yield replace(cell, subproject=project.directory)


def run_tests(project: Project, request: RunRequest, view: View) -> FinishedRun:
    """Run suites × refs × interpreters, each cell in a worktree of its own, and report on them as one."""
    began = time.time()
    cells = plan_cells(project, request)
    notes: list[str] = []
    jobs = 1 if request.here else min(request.jobs or machine.default_jobs(), len(cells))
    with project.holding("testgrove test") as holder, _slots(project, holder, request) as slot:
        holder.supervisors.start_ahead(
            jobs + len(_engines(cells)) + max(len(cell.settings.processes) for cell in cells)
        )
        find_targets = partial(_targets, project, cells)
        with running(project, holder, cells, find_targets, request) as run:
            schedule = Schedule(tasks_of(cells), jobs, durations(project))
            header = "; ".join([_header(run.targets, request), *run.databases.notes])
            origin = Origin(request.again, fail_on_leak=request.fail_on_leak, began=began)
            result = EventLoop(run, cells, schedule, jobs, header, view, origin, slot).work()
            holder.supervisors.dismiss()
            write_reports(run.folder, result, project.render)
        if not request.here:
            remember_durations(project, result)
            notes += removal.trim_kept(project, holder)
            notes += removal.trim_parked(project, holder, max(project.settings.park, len(cells)))
        notes += map(told, holder.failed_deletions())
    notes += notes_on_skipped(project, result)
    return FinishedRun(result, run.folder, notes)


@contextmanager
def _slots(project: Project, holder: Holder, request: RunRequest) -> Iterator[MakeSlot]:
    """Return the slots that run the cells. With --here, the checkout is held meanwhile."""
    if not request.here:
        yield WorktreeSlot
        return
    from testgrove.app.runs.here import HereSlot, checkout_held  # noqa: PLC0415 - for --here

    with checkout_held(project, holder):
        yield HereSlot


def tasks_of(cells: Sequence[Cell]) -> list[Task]:
    """Return the cells as tasks.

    A slot retries its cell itself, in the same worktree; an exclusive cell prepares while others run, and waits for its
    turn in its slot, because it also waits for other runs."""
    return [Task(cell.key, last=cell.settings.exclusive) for cell in cells]


def _engines(cells: Sequence[Cell]) -> set[str]:
    return {engine for cell in cells for engine in cell.settings.services}


def _targets(project: Project, cells: Sequence[Cell]) -> dict[str, Target]:
    found: dict[str, Target] = {}
    for ref in dict.fromkeys(cell.ref for cell in cells):
        target = operations.target_of(project, ref or None)
        # Detached: a cell leaves the branch for the user, and many cells can test the same one.
        found[ref] = Target(target.commit, target.tree, "", target.label)
    return found


def _header(targets: dict[str, Target], request: RunRequest) -> str:
    tested = ", ".join(f"{ref} ({target.commit[:10]})" if ref else target.label for ref, target in targets.items())
    parts = ["here", tested] if request.here else [tested]
    return " · ".join([*parts, *([] if request.seed is None else [f"random order {request.seed}"])])


@contextmanager
def running(
    project: Project,
    holder: Holder,
    cells: Sequence[Cell],
    find_targets: Callable[[], dict[str, Target]],
    request: RunRequest,
) -> Iterator[RunContext]:
    """The resources of a run apart from its worktrees: record, folders and servers. All but the reports are removed."""
    run_id, scratch, memory = _new_folders(project)
    leases = project.store.leases(f"run:{run_id}")
    cancel = threading.Event()
    databases = RunDatabases(project, holder, leases, memory, cancel)
    databases.find(cells)
    inbox: queue.SimpleQueue[AnyEvent] = queue.SimpleQueue()
    folder = project.artifacts / run_id
    project.store.runs.add(RunRecord(run_id, project.id, folder, holder.key))
    try:
        _make_folders(leases.record, scratch, memory)
        databases.start_ahead()
        targets = find_targets()
        _make_artifacts(project, folder)
        yield RunContext(
            project=project,
            holder=holder,
            id=run_id,
            folder=folder,
            scratch=scratch,
            plugin=place_plugin(project.locations.cache),
            inbox=inbox,
            cancel=cancel,
            databases=databases,
            leaks=LeakWatch(inbox.put, request.leak_checks),
            connections=ConnectionWatch(),
            gate=StartGate(machine.usable_cpus()),
            targets=targets,
            seed=request.seed,
            coverage=_coverage(project, holder, scratch) if request.cov else None,
            keep_failed=request.keep_failed,
            chosen=any(word.startswith("-k") for word in request.arguments),
        )
    finally:
        databases.close()
        undo(holder, leases)
        project.store.runs.delete(run_id)


def _coverage(project: Project, holder: Holder, scratch: Path) -> RunCoverage:
    from testgrove.app.runs.coverage import RunCoverage  # noqa: PLC0415 - for --cov

    return RunCoverage(project, holder, scratch)


def _make_artifacts(project: Project, folder: Path) -> None:
    git.exclude(project.repository, git_excluded(project))
    with explained("create the run's folder", folder):
        folder.mkdir(parents=True)


def _new_folders(project: Project) -> tuple[str, Path, Path]:
    """A run's id, and where its scratch folder and its folder in memory are to be."""
    run_id = time.strftime("%Y%m%d-%H%M%S-") + secrets.token_hex(2)
    name = run_id[-11:]
    return run_id, project.locations.scratch / name, project.locations.memory / f"{name}-m"


def _make_folders(record: Callable[[Lease], None], *folders: Path) -> None:
    for folder in folders:
        record(Lease(LeaseKind.DIRECTORY, str(folder)))
        with explained("create the run's folder", folder):
            folder.mkdir(mode=0o700)


def durations(project: Project) -> dict[str, float]:
    """Seconds that each cell took when it last ran to its end."""
    return project.store.runs.durations(project.id)


def remember_durations(project: Project, result: RunResult, prefix: str = "") -> None:
    """Keep how long each cell took, for the next run's order. prefix: of the keys, for what is no suite."""
    ended = []
    for key, cell in result.cells.items():
        if cell.status in ("passed", "failed", "flaky") and cell.finished and cell.phases:
            work = [span for span in cell.phases if span.phase != "waiting"]
            seconds = sum((span.end or cell.finished) - span.start for span in work)
            ended.append((prefix + key, seconds, cell.finished))
    project.store.runs.remember_durations(project.id, ended)
