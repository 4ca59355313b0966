"""How a run looks where no terminal shows it: one line for each change that matters, or nothing at all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

from testgrove.reports.figures import all_skipped, cell_duration, noun, outcomes
from testgrove.reports.wording import counted, flat, number, seconds

if TYPE_CHECKING:
    from testgrove.core.runs.result import CellResult, RunResult


@dataclass
class _Printed:
    """The lines already printed about one cell: number of phases and attempts, its reason to wait, its end."""

    phases: int = 0
    attempts: int = 0
    reason: str = ""
    begun: bool = False
    finished: bool = False


class PlainView:
    """One line when a cell waits, starts, tries again or ends: whole, unwrapped, no escape sequences."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._printed: dict[str, _Printed] = {}
        self._gone = False
        self._environments: set[str] = set()

    def start(self, result: RunResult) -> None:
        """Say what is about to run."""
        self._say(run_line(result))

    def update(self, result: RunResult, now: float) -> None:
        """Say what has changed since the last call. now: seconds since the epoch."""
        for cell in result.cells.values():
            self._cell(cell, now)

    def stop(self, result: RunResult) -> None:
        """Say what has changed since the last call, for the last time."""
        self.update(result, result.ended)

    def _cell(self, cell: CellResult, now: float) -> None:
        key, printed = flat(cell.info.key), self._printed.setdefault(cell.info.key, _Printed())
        for span in cell.phases[printed.phases :]:
            reason = flat(span.reason)
            if span.phase == "waiting":
                if reason and reason != printed.reason:
                    self._say(f"{key}: waiting: {reason}")
                printed.reason = reason
            elif not printed.begun:
                printed.begun = True
                self._say(f"{key}: started in {flat(cell.info.worktree)}")
            if span.phase == "environment" and reason and reason not in self._environments:
                self._environments.add(reason)  # most cells of a run have the same one
                self._say(f"environment: {reason}")
        printed.phases = len(cell.phases)
        for attempt in cell.attempts[printed.attempts :]:
            if printed.attempts:
                earlier = cell.attempts[printed.attempts - 1]
                why = f" after {earlier.status}: {flat(earlier.reason)}".removesuffix(": ") if earlier.status else ""
                self._say(f"{key}: attempt {attempt.number}{why}")
            printed.attempts += 1
        self._progress(cell)
        if cell.status is not None and not printed.finished:
            printed.finished = True
            self._say(f"{key}: {ending(cell, now)}")

    def _progress(self, cell: CellResult) -> None:
        """Print a cell's progress between start and end: nothing in this view."""

    def _say(self, line: str) -> None:
        if self._gone:
            return
        encoding = getattr(self._stream, "encoding", None) or "utf-8"
        try:
            self._stream.write(f"{line}\n".encode(encoding, "replace").decode(encoding))
            self._stream.flush()
        except OSError:  # `testgrove test | head`: the run goes on, its reports are written
            self._gone = True


class QuietView:
    """Nothing until the end."""

    def start(self, result: RunResult) -> None:
        """Nothing."""

    def update(self, result: RunResult, now: float) -> None:
        """Nothing."""

    def stop(self, result: RunResult) -> None:
        """Nothing."""


def run_line(result: RunResult) -> str:
    """Return the line about what runs, on how many slots, from which source."""
    parts = [result.project, result.header, number(len(result.cells), noun(result)), number(result.jobs, "job")]
    return " · ".join(flat(part) for part in parts if part)


def ending(cell: CellResult, now: float) -> str:
    """Return how a cell ended: outcome, duration, counts, reason."""
    word = "all skipped" if all_skipped(cell) else str(cell.status)
    took = cell_duration(cell, now)
    tests = counted(outcomes(cell.last))
    line = ", ".join(filter(None, [f"{word} in {seconds(took)}" if took else word, tests]))
    return f"{line}: {flat(cell.reason)}" if cell.reason else line
