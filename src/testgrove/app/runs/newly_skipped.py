"""Tests that were skipped in a run, and had run in the one before: often for want of a service or a variable."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from testgrove.app.project import Project
from testgrove.app.runs.past import past_result, run_ids
from testgrove.core.runs.result import CellResult, RunResult

_LOOKED_AT = 3  # runs before this one
_NAMED = 3


def notes_on_skipped(project: Project, result: RunResult) -> Iterator[str]:
    """Yield a note for each cell with tests that were skipped, and had run in the newest earlier run of that cell."""
    skipped = {key: found for key, cell in result.cells.items() if (found := _tests(cell, skipped=True))}
    if not skipped:
        return
    for earlier in _earlier(project, result.run):
        for key in [key for key in skipped if key in earlier.cells]:
            ran = _tests(earlier.cells[key], skipped=False)
            if lost := [test for test in skipped.pop(key) if test in ran]:
                names = ", ".join(lost[:_NAMED]) + (", …" if len(lost) > _NAMED else "")
                count = f"{len(lost)} tests were skipped that" if len(lost) > 1 else "1 test was skipped that"
                yield f"{key}: {count} ran in run {earlier.run}: {names}"
        if not skipped:
            return


def _tests(cell: CellResult, *, skipped: bool) -> dict[str, None]:
    """The node ids of the tests in a cell's last attempt that were skipped, or were not, in order."""
    tests = cell.last.tests if cell.last else ()
    return {test.nodeid: None for test in tests if (test.outcome == "skipped") == skipped}


def _earlier(project: Project, run: str) -> Iterator[RunResult]:
    """Yield the results of the newest runs before this one, newest first."""
    names = [name for name in run_ids(project) if name != run]
    for name in reversed(names[-_LOOKED_AT:]):
        with suppress(OSError):  # the run is over, and its result stands
            if earlier := past_result(project, name):
                yield earlier
