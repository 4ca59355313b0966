"""The start of a resumed run of scenarios: the ends of an earlier run, as its log has them."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import field, replace
from pathlib import Path

import msgspec

from testgrove.app.project import Project
from testgrove.app.runs.event_loop import DISK_FULL, TIME_UP
from testgrove.app.runs.log_and_reports import LOG
from testgrove.app.runs.past import goes_on, run_folder, run_ids
from testgrove.app.scenarios.found_worktrees import created_by
from testgrove.core.frozen import frozen
from testgrove.core.runs.events import (
    AnyEvent,
    AttemptStarted,
    Interrupted,
    RunFinished,
    RunStarted,
    Status,
    WorktreeChanged,
    decode_log,
)
from testgrove.core.runs.result import CellResult, ResultBuilder
from testgrove.core.scenarios.resolve import ScenarioPlan, within
from testgrove.errors import PreconditionError
from testgrove.system.files import explained

_CUT_SHORT = (TIME_UP, DISK_FULL)


@frozen
class ResumedRun:
    """ended: status of scenarios that do not run again. events: theirs, for the new log. names: all scenarios of the
    earlier run. created: the worktrees that it created. run: its id. source, base: of the earlier run."""

    run: str = ""
    ended: Mapping[str, Status] = field(default_factory=dict)
    events: Sequence[AnyEvent] = ()
    names: Sequence[str] = ()
    created: Sequence[str] = ()
    source: str = ""
    base: str = ""

    def limit(self, plan: ScenarioPlan) -> ScenarioPlan:
        """The scenarios of a file that the earlier run had; all, where there is none."""
        return within(plan, self.names) if self.run else plan

    def of(self, plan: ScenarioPlan) -> ResumedRun:
        """Return the earlier results of the selected scenarios. Teardown runs again if one of its needs does."""
        kept: set[str] = set()
        for each in plan.scenarios:  # each after those that it needs
            if each.name in self.ended and (not each.always or all(need.name in kept for need in each.needs)):
                kept.add(each.name)
        return replace(
            self,
            ended={key: status for key, status in self.ended.items() if key in kept},
            events=[event for event in self.events if getattr(event, "cell", None) in {None, *kept}],
        )


def earlier(project: Project, name: str, *, failed_only: bool) -> ResumedRun:
    """Return what `--resume RUN` continues. failed_only: `--rerun failed`, so that what did not pass runs again.

    Raises PreconditionError (``no-such-run``, ``not-scenarios``, ``held``).
    """
    folder = _newest(project) if name == "latest" else run_folder(project, name)
    events = _events(folder)
    opening = next((event for event in events if isinstance(event, RunStarted)), None)
    if opening is None or not opening.source:
        raise PreconditionError(
            "not-scenarios", f"{folder.name} is not a scenario run", hint="testgrove history   lists the runs"
        )
    if goes_on(project, folder):
        raise PreconditionError("held", f"{folder.name} is still running", hint="wait until it ends, or stop it")
    builder = ResultBuilder()
    for event in events:
        builder.apply(event)
    kept: tuple[Status, ...] = ("passed", "flaky") if failed_only else ("passed", "flaky", "failed", "error")
    cells = builder.result.cells.values()
    created = created_by(events)
    ended = {cell.info.key: cell.status for cell in cells if cell.status in kept and not _cut_short(cell)}
    return ResumedRun(
        run=folder.name,
        ended={key: status for key, status in ended.items() if status is not None},
        events=[_moved(event, folder.name) for event in events if _is_kept(event, ended, created)],
        names=[info.key for info in opening.cells],
        created=created,
        source=opening.source,
        base=opening.base,
    )


def _is_kept(event: AnyEvent, ended: Collection[str], created: Collection[str]) -> bool:
    """Return whether an event belongs into the log of the run that goes on."""
    if isinstance(event, WorktreeChanged):
        return event.action == "created" and event.worktree in created
    return getattr(event, "cell", None) in ended


def _cut_short(cell: CellResult) -> bool:
    """Return whether it was the run that ended, and not the scenario."""
    return cell.reason.startswith(_CUT_SHORT)


def _moved(event: AnyEvent, run: str) -> AnyEvent:
    """The event as another run's log has it: its files stay where they are."""
    if isinstance(event, AttemptStarted):
        return msgspec.structs.replace(event, log=os.path.normpath(f"../{run}/{event.log}"))
    return event


def _newest(project: Project) -> Path:
    """The newest run of scenarios. Raises PreconditionError (``no-such-run``)."""
    for name in reversed(run_ids(project)):
        with (project.artifacts / name / LOG).open("rb") as log:
            opening = decode_log(log.readline())
        if opening and isinstance(opening[0], RunStarted) and opening[0].source:
            return project.artifacts / name
    raise PreconditionError("no-such-run", "no scenario runs yet", hint="testgrove coordinate FILE")


def _events(folder: Path) -> list[AnyEvent]:
    with explained("read the run's log", folder):
        events = decode_log((folder / LOG).read_bytes())
    return [event for event in events if not isinstance(event, (Interrupted, RunFinished))]
