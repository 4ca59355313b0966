"""The slowest tests of a run."""

from __future__ import annotations

from typing import Any

from testgrove.core.runs.result import RunResult
from testgrove.reports.wording import flat, seconds


def slowest(result: RunResult, number: int) -> list[dict[str, Any]]:
    """The slowest tests, the slowest first, by the attempt that decided: cell, nodeid, seconds, outcome."""
    found: list[dict[str, Any]] = [
        {"cell": cell.info.key, "nodeid": test.nodeid, "duration": round(test.duration, 6), "outcome": test.outcome}
        for cell in result.cells.values()
        for test in (cell.last.tests if cell.last else ())
    ]
    return sorted(found, key=lambda test: -test["duration"])[:number]


def as_lines(tests: list[dict[str, Any]]) -> str:
    """One line for each: time, cell, test."""
    width = max((len(seconds(test["duration"])) for test in tests), default=0)
    return "".join(f"{seconds(t['duration']):>{width}}  {flat(t['cell'])}  {flat(t['nodeid'])}\n" for t in tests)
