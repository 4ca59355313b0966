"""How long a run of scenarios will still take, by the seconds that its scenarios took before."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from testgrove.core.runs.result import CellResult, RunResult


def seconds_left(result: RunResult, now: float) -> float | None:
    """The longest chain that is left, or what is left for all slots, if that is longer; None where nothing is known."""
    left = {key: _left(cell, now) for key, cell in result.cells.items() if cell.status is None}
    if not left or any(
        cell.info.scenario is None or cell.info.scenario.expected is None for cell in result.cells.values()
    ):
        return None
    path: dict[str, float] = {}
    for key, own in left.items():  # each comes after what it needs
        scenario = result.cells[key].info.scenario
        needs = scenario.needs if scenario else ()
        path[key] = own + max((path.get(need, 0.0) for need in needs), default=0.0)
    return max(*path.values(), sum(left.values()) / max(1, result.jobs))


def _left(cell: CellResult, now: float) -> float:
    expected = (cell.info.scenario.expected if cell.info.scenario else None) or 0.0
    running = cell.phase is not None and cell.phase.phase == "running"
    return max(0.0, expected - (now - cell.phase.start)) if running and cell.phase else expected
