"""Each cell's phases as shares of the run's time, for drawing."""

from __future__ import annotations

from typing import get_args

from testgrove.core.frozen import frozen
from testgrove.core.runs.events import Phase
from testgrove.core.runs.result import RunResult
from testgrove.reports.figures import span_end
from testgrove.reports.wording import seconds

STEPS = (
    0.01,
    0.02,
    0.05,
    0.1,
    0.2,
    0.5,
    1,
    2,
    5,
    10,
    15,
    30,
    60,
    120,
    300,
    600,
    900,
    1800,
    3600,
    7200,
    14400,
    43200,
)


@frozen
class PhaseBar:
    """One phase. left and width: per cent of the axis; start and duration: seconds since the run's start."""

    phase: Phase
    left: float
    width: float
    start: float
    duration: float
    reason: str


@frozen
class TimelineRow:
    """One cell's phases; retries: per cent of the axis where a further attempt began."""

    number: int
    key: str
    bars: list[PhaseBar]
    retries: list[float]


@frozen
class Timeline:
    """A run as a picture. ticks: words and per cent; phases: those that occur, as cells meet them."""

    rows: list[TimelineRow]
    ticks: list[tuple[str, float]]
    phases: list[Phase]


def timeline(result: RunResult) -> Timeline:
    """Lay the phases of all cells on one axis, from the run's start to its end."""
    whole = max(result.duration, 0.001)

    def share(moment: float) -> float:
        return round(min(100.0, max(0.0, 100 * moment / whole)), 3)

    rows = []
    for number, cell in enumerate(result.cells.values(), 1):
        bars = []
        for span in cell.phases:
            start, end = span.start - result.started, span_end(result, cell, span) - result.started
            bars.append(
                PhaseBar(
                    phase=span.phase,
                    left=share(start),
                    width=round(share(end) - share(start), 3),
                    start=start,
                    duration=end - start,
                    reason=span.reason,
                )
            )
        retries = [share(attempt.started - result.started) for attempt in cell.attempts[1:]]
        rows.append(TimelineRow(number=number, key=cell.info.key, bars=bars, retries=retries))
    met = {bar.phase for row in rows for bar in row.bars}
    step = next((step for step in STEPS if whole / step <= 8), STEPS[-1] * (1 + whole // (8 * STEPS[-1])))
    ticks = [(_moment(step * n), share(step * n)) for n in range(int(whole / step) + 1)]
    return Timeline(rows=rows, ticks=ticks, phases=[phase for phase in get_args(Phase) if phase in met])


def _moment(value: float) -> str:
    """A tick's label; ticks are round, so it has no digits to spare."""
    return f"{round(value, 2):g} s" if value < 60 else seconds(value)
