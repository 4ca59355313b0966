"""`testgrove coordinate` from top to bottom: a scenario file, its plan, its worktrees, its run."""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from dataclasses import field
from functools import partial
from pathlib import Path

from testgrove.app.isolation import told
from testgrove.app.project import Project
from testgrove.app.runs import run as runs
from testgrove.app.runs.event_loop import EventLoop, Origin, View
from testgrove.app.runs.log_and_reports import write_reports
from testgrove.app.scenarios.found_worktrees import FoundWorktree, find_worktree, unknown_worktree
from testgrove.app.scenarios.resume import ResumedRun
from testgrove.app.scenarios.slot import ScenarioSlot
from testgrove.app.scenarios.worktrees import ScenarioWorktrees, WorktreePreparation
from testgrove.app.worktrees.creation import git_excluded
from testgrove.app.worktrees.operations import target_of
from testgrove.app.worktrees.workspace import OnPhase
from testgrove.core.frozen import frozen
from testgrove.core.runs.events import AnyEvent, WorktreeAction, WorktreeChanged
from testgrove.core.runs.leaks import LeakChecks
from testgrove.core.scenarios import cells as scenario_cells
from testgrove.core.scenarios import file as scenario_file
from testgrove.core.scenarios.resolve import Filters, ScenarioPlan, resolve, select
from testgrove.core.scheduling.forecast import Forecast, forecast
from testgrove.core.scheduling.schedule import Schedule
from testgrove.core.text import some
from testgrove.errors import PreconditionError, UsageError
from testgrove.system import git, machine
from testgrove.system.files import explained

DEFAULT_FILES = (
    "scenarios.json",
    "tests/integration/scenarios.json",
    "scenarios.toml",
    "tests/integration/scenarios.toml",
)
_PREFIX = "scenario:"  # of a scenario's name in the recorded durations, which also contain suites


@frozen
class CoordinateRequest:
    """The options of `testgrove coordinate`.

    base: the worktrees' folder, by default the project's root. jobs: slots, None for the machine's default. max_fail:
    number of failures after which nothing more starts. timeout: seconds for the whole run. again: the command that
    repeats the run. before: the run to resume. leak_checks: how much is checked after an attempt. fail_on_leak: a leak
    makes the exit status 6."""

    file: Path
    base: Path | None = None
    filters: Filters = field(default_factory=Filters)
    jobs: int | None = None
    max_fail: int | None = None
    timeout: float | None = None
    preparation: WorktreePreparation = field(default_factory=WorktreePreparation)
    again: str = ""
    before: ResumedRun = field(default_factory=ResumedRun)
    fail_on_leak: bool = False
    leak_checks: LeakChecks = "all"


@frozen
class Preview:
    """A preview of a run. worktrees: as they are; jobs: slots."""

    plan: ScenarioPlan
    worktrees: tuple[FoundWorktree, ...]
    forecast: Forecast
    jobs: int
    base: Path

    @property
    def to_set_up(self) -> tuple[FoundWorktree, ...]:
        """The worktrees that are not ready."""
        return tuple(each for each in self.worktrees if not each.ready)


def find_file(directory: Path, file: Path | None) -> Path:
    """The scenario file: the one that is named, else the first of the usual ones. Raises PreconditionError."""
    if file is not None:
        return directory / file.expanduser()
    for name in DEFAULT_FILES:
        if (directory / name).is_file():
            return directory / name
    raise PreconditionError(
        "no-scenarios",
        f"no {' or '.join(DEFAULT_FILES[:2])} found in {directory.resolve()}",
        hint="testgrove coordinate FILE",
    )


def make_plan(project: Project, request: CoordinateRequest) -> ScenarioPlan:
    """Return what is selected of a scenario file. Raises UsageError for what is wrong with it, and for an empty
    selection."""
    path = request.file
    try:
        with explained("read the scenario file", path):
            text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UsageError("scenarios-syntax", f"{path}: not valid UTF-8 at byte {error.start}") from error
    settings = project.settings
    located = scenario_file.parse(text, path)
    whole = resolve(located, path, capacities=settings.resources, services=settings.services)
    return select(request.before.limit(whole), request.filters)


def preview(project: Project, request: CoordinateRequest) -> Preview:
    """The plan, with what is there and what it is expected to take. Nothing is changed."""
    plan = make_plan(project, request)
    base, jobs = base_of(project, request), jobs_of(request, plan)
    found = tuple(find_worktree(project, base, name) for name in plan.worktrees)
    tasks = scenario_cells.tasks_of(plan.scenarios)
    return Preview(plan, found, forecast(tasks, jobs, durations(project), project.settings.resources), jobs, base)


def coordinate(project: Project, request: CoordinateRequest, view: View) -> runs.FinishedRun:
    """Run the scenarios, each in its worktree, and report on them as one.

    Raises UsageError and PreconditionError (``no-such-worktree``) before anything runs.
    """
    began = time.time()
    seen = preview(project, request)
    _require_worktrees(seen, request)
    plan, jobs, before = seen.plan, seen.jobs, request.before.of(seen.plan)
    expected = seen.forecast.expected if seen.forecast.known else {}
    cells = scenario_cells.cells_of(plan.scenarios, expected)
    with project.holding("testgrove coordinate") as holder:
        holder.supervisors.start_ahead(jobs + len({engine for cell in cells for engine in cell.settings.services}))
        pulled = target_of(project, request.preparation.pull) if request.preparation.pull else None
        with runs.running(project, holder, cells, dict, runs.RunRequest(leak_checks=request.leak_checks)) as run:
            held = ScenarioWorktrees(project, holder, seen.base, request.preparation, plan.scenarios, pulled)
            slot, closing = partial(ScenarioSlot, held), partial(_close, held, request)
            schedule, origin = _schedule(project, request, seen, before), _origin(request, seen, before, began)
            header = _header(seen)
            try:
                result = EventLoop(
                    run, cells, schedule, jobs, header, view, origin, slot, request.timeout, closing
                ).work()
            finally:
                held.close()
            write_reports(run.folder, result, project.render)
        runs.remember_durations(project, result, _PREFIX)
        notes = [told(error) for error in holder.failed_deletions()]
    return runs.FinishedRun(result, run.folder, notes)


def _schedule(project: Project, request: CoordinateRequest, seen: Preview, before: ResumedRun) -> Schedule:
    return Schedule(
        scenario_cells.tasks_of(seen.plan.scenarios),
        seen.jobs,
        durations(project),
        capacities=project.settings.resources,
        max_fail=request.max_fail,
        ended=before.ended,
    )


def _origin(request: CoordinateRequest, seen: Preview, before: ResumedRun, began: float) -> Origin:
    return Origin(
        request.again,
        str(seen.plan.source.absolute()),  # the run may be resumed from elsewhere
        str(seen.base),
        before.run,
        before.events,
        fail_on_leak=request.fail_on_leak,
        began=began,
    )


def set_up(project: Project, request: CoordinateRequest, on_phase: OnPhase) -> dict[str, dict[str, str]]:
    """Make the worktrees of the selected scenarios ready, and run nothing; what was done to each, last.

    Raises TestgroveError for the first that cannot be.
    """
    seen = preview(project, request)
    _require_worktrees(seen, request)
    done: dict[str, dict[str, str]] = {}

    def tell(name: str, action: WorktreeAction, path: Path, detail: str) -> None:
        done[name] = {"action": action, "path": str(path), "detail": detail}

    with project.holding("testgrove coordinate --only-setup") as holder:
        pulled = target_of(project, request.preparation.pull) if request.preparation.pull else None
        git.exclude(project.repository, git_excluded(project))
        held = ScenarioWorktrees(project, holder, seen.base, request.preparation, seen.plan.scenarios, pulled)
        try:
            for name in seen.plan.worktrees:
                held.ready(name, on_phase, tell, project.artifacts)
        finally:
            held.close()
    return done


def base_of(project: Project, request: CoordinateRequest) -> Path:
    """The folder of the worktrees, by its one true name: links are followed."""
    return request.base.expanduser().resolve() if request.base else project.root


def jobs_of(request: CoordinateRequest, plan: ScenarioPlan) -> int:
    """Return how many slots a run has. Raises UsageError for a number that makes no sense."""
    if request.jobs is not None and request.jobs < 1:
        raise UsageError("invalid-jobs", f"--workers {request.jobs}: expected a number from 1")
    return max(1, min(request.jobs or machine.default_jobs(), len(plan.scenarios)))


def durations(project: Project) -> dict[str, float]:
    """Seconds that each scenario took when it last ran to its end."""
    known = runs.durations(project).items()
    return {key.removeprefix(_PREFIX): seconds for key, seconds in known if key.startswith(_PREFIX)}


def main_branch(project: Project) -> str:
    """Return what --pull-coordinator brings by default: the main checkout's branch, else its commit."""
    commit, branch = git.head_of(project.main)
    return branch or commit


def _require_worktrees(seen: Preview, request: CoordinateRequest) -> None:
    """Before anything runs: without --setup-worktrees, all of them must be there."""
    for found in seen.worktrees:
        if found.state == "broken":
            raise PreconditionError("path-exists", found.detail, hint=f"ls -la {shlex.quote(str(found.path))}")
        if not request.preparation.setup and found.state != "adopted" and not found.ready:
            lines = {each.worktree: each.line for each in reversed(seen.plan.scenarios)}
            error = unknown_worktree(found)
            error.message = f"{seen.plan.source}:{lines[found.name]}: {error.message}"
            raise error


def _header(seen: Preview) -> str:
    number = len(seen.worktrees)
    parts = [f"{seen.plan.source.name}: {number} worktree{'s' if number > 1 else ''} in {seen.base}"]
    if left_out := seen.plan.left_out:
        parts.append(f"without the dependencies of {some(left_out, whole='--dry-run')}")
    return " · ".join(parts)


def _close(held: ScenarioWorktrees, request: CoordinateRequest) -> Sequence[AnyEvent]:
    held.close()
    if not request.preparation.cleanup:
        return ()
    gone = held.clean_up(request.before.created)
    return [
        WorktreeChanged(t=time.time(), worktree=name, action=action, path=str(path), detail=detail)
        for name, action, path, detail in gone
    ]
