"""Figures that all reports compute from a run's result in the same way."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, get_args

from testgrove.core.runs.events import Status, TestOutcome
from testgrove.core.runs.result import LEAKS, AttemptResult, CellResult, PhaseSpan, RunResult, TestResult

if TYPE_CHECKING:
    from testgrove.core.documents.reports import RunStatus

BAD: tuple[TestOutcome, ...] = ("failed", "error")
OUTCOMES: tuple[TestOutcome, ...] = get_args(TestOutcome)
STATUSES: tuple[Status, ...] = get_args(Status)


def noun(result: RunResult) -> str:
    """Return the user's word for the run's cells."""
    return "scenario" if result.source else "cell"


def run_status(result: RunResult) -> RunStatus:
    """The run in one word; it agrees with the exit status."""
    if result.interrupted:
        return "interrupted"
    if result.exit_status == 0:
        return "passed"
    if result.exit_status == LEAKS:
        return "failed"
    failed = result.count("failed")
    others = len(result.cells) - result.count("passed", "flaky", "skipped") - failed
    return "failed" if failed and not others else "error"


def count_cells(result: RunResult) -> dict[str, int]:
    """Return how many cells ended how. ``unfinished`` appears in a run that goes on."""
    counts: dict[str, int] = {status: result.count(status) for status in STATUSES}
    unfinished = sum(cell.status is None for cell in result.cells.values())
    return {**counts, "unfinished": unfinished} if unfinished else counts


def count_tests(result: RunResult) -> dict[str, int]:
    """Return how many tests ended how, each cell counted by the attempt that decided."""
    counts: Counter[str] = Counter()
    for cell in result.cells.values():
        counts.update(outcomes(cell.last))
    return {outcome: counts[outcome] for outcome in OUTCOMES}


def outcomes(attempt: AttemptResult | None) -> dict[str, int]:
    """Return how many of an attempt's tests ended how; every outcome has its key."""
    counts = Counter(test.outcome for test in attempt.tests) if attempt else Counter()
    return {outcome: counts[outcome] for outcome in OUTCOMES}


def failures(attempt: AttemptResult | None) -> list[TestResult]:
    """An attempt's tests that failed or could not run, in their order."""
    return [test for test in attempt.tests if test.outcome in BAD] if attempt else []


def all_skipped(cell: CellResult) -> bool:
    """Return whether the cell ended well without a single test that really ran."""
    if cell.last is None or not cell.last.tests or cell.status not in ("passed", "flaky", "skipped"):
        return False
    return all(test.outcome == "skipped" for test in cell.last.tests)


def flaky_tests(cell: CellResult) -> list[str]:
    """The tests that failed in an earlier attempt and did not in the last, in their order."""
    if cell.last is None or len(cell.attempts) < 2:
        return []
    good = {test.nodeid for test in cell.last.tests if test.outcome not in BAD}
    before = (test.nodeid for attempt in cell.attempts[:-1] for test in failures(attempt))
    return [nodeid for nodeid in dict.fromkeys(before) if nodeid in good]


def began(cell: CellResult) -> float | None:
    """When the cell left the queue: its first phase that is not waiting, else its first attempt."""
    starts = [span.start for span in cell.phases if span.phase != "waiting"][:1]
    starts += [attempt.started for attempt in cell.attempts[:1]]
    return min(starts, default=None)


def cell_duration(cell: CellResult, now: float) -> float:
    """Seconds from the queue to the cell's end, or to now; 0 for one that never left the queue."""
    start = began(cell)
    return 0.0 if start is None else max(0.0, (cell.finished or now) - start)


def attempt_duration(result: RunResult, attempt: AttemptResult) -> float:
    """Seconds an attempt took; for one whose end the log does not hold, up to the log's end."""
    if attempt.status is None:
        return max(0.0, result.ended - attempt.started)
    return attempt.duration


def span_end(result: RunResult, cell: CellResult, span: PhaseSpan) -> float:
    """When a phase ended; one that the log leaves open lasts until the cell's end, or the log's."""
    return max(span.start, span.end or cell.finished or result.ended)


def python_of(cell: CellResult) -> str:
    """Return the interpreter of the cell, as exactly as it is known."""
    return (cell.last.python if cell.last else "") or cell.info.python


@dataclass
class Tally:
    """Counts of attempts that are still growing: each test is read only once, for any number of queries."""

    _seen: dict[tuple[str, int], tuple[int, Counter[TestOutcome]]] = field(default_factory=dict)

    def of(self, cell: CellResult) -> dict[str, int]:
        """The outcomes so far of the cell's last attempt; every outcome has its key."""
        last = cell.last
        if last is None:
            return dict.fromkeys(OUTCOMES, 0)
        seen, counts = self._seen.get((cell.info.key, len(cell.attempts)), (0, Counter()))
        if seen < len(last.tests):
            counts.update(test.outcome for test in last.tests[seen:])
            self._seen[cell.info.key, len(cell.attempts)] = (len(last.tests), counts)
        return {outcome: counts[outcome] for outcome in OUTCOMES}
