"""Several runs as one: their events, put in order, under keys that stay apart."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence

import msgspec

from testgrove.core.runs.events import (
    AnyEvent,
    AttemptStarted,
    Interrupted,
    ProcessStarted,
    RunFinished,
    RunStarted,
    ScenarioInfo,
)

Log = Sequence[AnyEvent]


def merge(logs: Mapping[str, Log], run: str) -> list[AnyEvent]:
    """The events of one run that holds all cells of the others. logs: by the path of each run's folder, relative to the
    merged one's. run: the merged run's id.

    A key that several runs have gets the run's id behind it. Raises ValueError for a log without a beginning.
    """
    openings = {folder: _opening(folder, log) for folder, log in logs.items()}
    counts = Counter(info.key for opening in openings.values() for info in opening.cells)
    names = {
        folder: {
            info.key: info.key if counts[info.key] == 1 else f"{info.key} ({opening.run})" for info in opening.cells
        }
        for folder, opening in openings.items()
    }
    events = [
        _moved(event, folder, names[folder])
        for folder, log in logs.items()
        for event in log
        if not isinstance(event, (RunStarted, RunFinished))
    ]
    events.sort(key=lambda event: event.t)
    start = _start(list(openings.values()), names, logs, run)
    killed = [openings[folder].run for folder, log in logs.items() if not _has_end(log)]
    end = max([start.t, *(event.t for log in logs.values() for event in log)])
    if killed:
        events.append(Interrupted(t=end, reason=f"{', '.join(killed)}: killed before the end"))
    return [start, *events, RunFinished(t=end, duration=end - start.t)]


def _start(
    openings: Sequence[RunStarted], names: Mapping[str, Mapping[str, str]], logs: Mapping[str, Log], run: str
) -> RunStarted:
    first = openings[0]
    cells = tuple(
        msgspec.structs.replace(info, key=names[folder][info.key], scenario=_renamed(info.scenario, names[folder]))
        for folder, opening in zip(logs, openings, strict=True)
        for info in opening.cells
    )
    return msgspec.structs.replace(
        first,
        t=min(opening.t for opening in openings),
        run=run,
        header="merged: " + ", ".join(opening.run for opening in openings),
        jobs=sum(opening.jobs for opening in openings),
        cells=cells,
        seed=first.seed if len({opening.seed for opening in openings}) == 1 else None,
        again="",
        resumed="",
        merged=tuple(opening.run for opening in openings),
    )


def _renamed(scenario: ScenarioInfo | None, names: Mapping[str, str]) -> ScenarioInfo | None:
    if scenario is None:
        return None
    return msgspec.structs.replace(scenario, needs=tuple(names.get(need, need) for need in scenario.needs))


def _opening(folder: str, log: Log) -> RunStarted:
    opening = next((event for event in log if isinstance(event, RunStarted)), None)
    if opening is None:
        raise ValueError(f"{folder}: the beginning of the log is missing")
    return opening


def _has_end(log: Log) -> bool:
    return any(isinstance(event, (RunFinished, Interrupted)) for event in log)


def _moved(event: AnyEvent, folder: str, names: Mapping[str, str]) -> AnyEvent:
    changes: dict[str, str] = {}
    if isinstance(event, (AttemptStarted, ProcessStarted)):
        changes["log"] = os.path.normpath(f"{folder}/{event.log}")
    if (cell := getattr(event, "cell", None)) is not None:
        changes["cell"] = names[cell]
    return msgspec.structs.replace(event, **changes) if changes else event
