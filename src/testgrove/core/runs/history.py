"""Statistics of past runs for each cell and scenario: pass rate, flakiness, duration."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median

from testgrove.core.runs.events import Status
from testgrove.core.runs.result import CellResult, RunResult


@dataclass
class HistoryEntry:
    """One cell or scenario over the runs, oldest first. statuses, seconds: of the runs in which it ran by itself."""

    key: str
    scenario: bool
    statuses: list[Status] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    last_run: str = ""

    @property
    def pass_rate(self) -> float:
        """Per cent of its runs in which it passed, flaky ones included."""
        return round(100 * sum(status in ("passed", "flaky") for status in self.statuses) / len(self.statuses), 2)

    @property
    def flaky_rate(self) -> float:
        """Per cent of its runs in which it passed after a retry."""
        return round(100 * self.statuses.count("flaky") / len(self.statuses), 2)

    @property
    def changes(self) -> int:
        """How often it passed after it had not, or the other way round."""
        good = [status in ("passed", "flaky") for status in self.statuses]
        return sum(one != other for one, other in pairwise(good))

    @property
    def median(self) -> float | None:
        """Seconds it takes in the middle; None where it never came to its end."""
        return median(self.seconds) if self.seconds else None

    @property
    def slowest(self) -> float | None:
        """The most seconds it took."""
        return max(self.seconds, default=None)


def history(results: Iterable[RunResult]) -> list[HistoryEntry]:
    """Compute statistics of runs, oldest first. An outcome that several runs share counts once."""
    entries: dict[tuple[bool, str], HistoryEntry] = {}
    for result in results:
        if result.merged:
            continue
        for cell in result.cells.values():
            if cell.status in (None, "skipped", "cancelled") or _taken_over(cell):
                continue
            name = (cell.info.scenario is not None, cell.info.key)
            entry = entries.setdefault(name, HistoryEntry(cell.info.key, scenario=name[0]))
            entry.statuses.append(cell.status)
            entry.last_run = result.run
            if cell.last and cell.last.status in ("passed", "failed"):
                entry.seconds.append(cell.last.duration)
    return list(entries.values())


def _taken_over(cell: CellResult) -> bool:
    return cell.last is not None and cell.last.log.startswith("../")
