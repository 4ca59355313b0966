"""Runs that are over, by their folders."""

from __future__ import annotations

import os
import secrets
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from testgrove.app.project import Project
from testgrove.app.runs.log_and_reports import LOG, Render
from testgrove.core.runs.events import RunStarted, decode_log, encode
from testgrove.core.runs.merge import merge
from testgrove.core.runs.result import RunResult, fold
from testgrove.errors import PreconditionError
from testgrove.system.files import atomic_write, explained

_SECOND = len("20261120-094611")  # of an id; the rest is chance


def run_folder(project: Project, name: str) -> Path:
    """The folder of a run: its id, the beginning of one, or ``latest``. Raises PreconditionError (``no-such-run``)."""
    ids = run_ids(project)
    found = ids[-1:] if name == "latest" else [each for each in ids if name and each.startswith(name)]
    exact = [each for each in found if each == name] or found
    if len(exact) == 1:
        return project.artifacts / exact[0]
    if found:
        shown = ", ".join(found[-3:])
        raise PreconditionError("ambiguous-run", f"'{name}' matches {len(found)} runs", hint=f"such as {shown}")
    if not ids:
        raise PreconditionError("no-such-run", f"no runs yet in {project.artifacts}", hint="testgrove test")
    raise PreconditionError("no-such-run", f"run '{name}' not found", hint=f"newest: {', '.join(ids[-3:])}")


def run_ids(project: Project) -> list[str]:
    """The ids of the runs whose logs are there, oldest first."""
    logs = [log for log in project.artifacts.glob(f"*/{LOG}") if not log.parent.is_symlink()]
    seconds = Counter(log.parent.name[:_SECOND] for log in logs)

    def began(log: Path) -> tuple[str, float, str]:
        name = log.parent.name
        return name[:_SECOND], _began(log) if seconds[name[:_SECOND]] > 1 else 0.0, name

    return [log.parent.name for log in sorted(logs, key=began)]


def _began(log: Path) -> float:
    """Return the start time of a run, to order runs of the same second; 0 for a log that is still empty."""
    with log.open("rb") as file:
        events = decode_log(file.readline())
    return events[0].t if events else 0.0


def past_results(project: Project, last: int) -> list[RunResult]:
    """The results of the newest runs, oldest first; those that go on and what cannot be read are left out."""
    results = (past_result(project, name) for name in run_ids(project)[-last:])
    return [result for result in results if result is not None]


def past_result(project: Project, name: str) -> RunResult | None:
    """The result of a run by its id; None for one that goes on, or cannot be read."""
    folder = project.artifacts / name
    events = decode_log((folder / LOG).read_bytes())
    is_over = events and isinstance(events[0], RunStarted) and not goes_on(project, folder)
    return fold(events) if is_over else None


def merge_runs(project: Project, names: Sequence[str], output: Path | None, render: Render) -> tuple[Path, RunResult]:
    """Make one run of several: ids, beginnings of ids, or folders with a log. Where its reports are, and its result.

    Raises PreconditionError (``no-such-run``, ``empty-log``).
    """
    given = [Path(name) if (Path(name) / LOG).is_file() else run_folder(project, name) for name in names]
    folders = list(dict.fromkeys(folder.absolute() for folder in given))
    run = time.strftime("merged-%Y%m%d-%H%M%S-") + secrets.token_hex(2)
    target = output or project.artifacts / "merged" / run  # one level down: it is no run of its own
    logs = {os.path.relpath(folder, target): decode_log((folder / LOG).read_bytes()) for folder in folders}
    try:
        events = merge(logs, run)
    except ValueError as error:
        raise PreconditionError("empty-log", str(error), hint="leave it out") from error
    with explained("write the merged reports", target):
        target.mkdir(parents=True, exist_ok=True)
    atomic_write(target / LOG, b"".join(encode(event) + b"\n" for event in events))
    result = fold(events)
    for name, text in render(result):
        atomic_write(target / name, text.encode("utf-8", "replace"))
    return target, result


def goes_on(project: Project, folder: Path) -> bool:
    """Return whether a run has not ended yet. (One that was killed has been closed by recovery.)"""
    return project.store.runs.at(folder) is not None
