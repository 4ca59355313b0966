"""How a run looks where no terminal shows it: one line for each change that matters, or nothing at all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

from testgrove.reports.figures import all_skipped, cell_duration, noun, outcomes
from testgrove.reports.wording import counted, flat, number, seconds

if TYPE_CHECKING:
    from testgrove.core.runs.result import AttemptResult, CellResult, RunResult

SILENCE = 4.5  # seconds without a line, at most
SHOWN = 3  # cells in the line about what runs


@dataclass
class _Printed:
    """The lines already printed about one cell: number of phases and attempts, its reason to wait, its end."""

    phases: int = 0
    attempts: int = 0
    reason: str = ""
    begun: bool = False
    finished: bool = False


class PlainView:
    """One line when a cell waits, starts, tries again or ends: whole, unwrapped, no escape sequences.

    After SILENCE without a line, one says what is going on.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lines = 0
        self._said = 0.0  # when the last line was printed, by the clock of update()
        self._printed: dict[str, _Printed] = {}
        self._gone = False
        self._environments: set[str] = set()

    def start(self, result: RunResult) -> None:
        """Say what is about to run."""
        self._say(run_line(result))
        self._said = result.ended

    def update(self, result: RunResult, now: float) -> None:
        """Say what has changed since the last call. now: seconds since the epoch."""
        before = self._lines
        for cell in result.cells.values():
            self._cell(cell, now)
        if self._lines == before and now - self._said >= SILENCE:
            self._say(going_on(result, now))
        if self._lines > before or now < self._said:
            self._said = now

    def stop(self, result: RunResult) -> None:
        """Say what has changed since the last call, for the last time."""
        for cell in result.cells.values():
            self._cell(cell, result.ended)

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
        self._lines += 1
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


def going_on(result: RunResult, now: float) -> str:
    """Return a line about what runs at this moment, and for how long the run has been going on."""
    open_cells = [cell for cell in result.cells.values() if cell.status is None]
    running = [cell for cell in open_cells if cell.phase and cell.phase.phase != "waiting"]
    parts = [f"{flat(cell.info.key)}: {doing(cell, now)}" for cell in running[:SHOWN]]
    if len(running) > SHOWN:
        parts.append(f"{len(running) - SHOWN} more")
    if waiting := len(open_cells) - len(running):
        parts.append(f"{waiting} waiting")
    return f"after {seconds(max(0.0, now - result.started))}: {'; '.join(parts) or 'finishing'}"


def doing(cell: CellResult, now: float) -> str:
    """Return what a cell is doing: its phase; while tests run, how many have ended, and the one that takes long."""
    phase, last = cell.phase, cell.last
    if phase is None or last is None or phase.phase != "running":
        return f"{phase.phase} for {seconds(max(0.0, now - phase.start))}" if phase else "waiting"
    of = f" of {last.selected:,}" if last.selected is not None else ""
    tests = f"{len(last.tests):,}{of} tests" if last.tests or of else "running"
    return ", ".join(filter(None, [tests, slowest_now(last, now)]))


def slowest_now(attempt: AttemptResult, now: float) -> str:
    """Return the test that has been running longest, and since when; empty where none takes long."""
    if not attempt.running:
        return ""
    nodeid = min(attempt.running, key=attempt.running.__getitem__)
    return f"{flat(nodeid)} for {seconds(max(0.0, now - attempt.running[nodeid]))}"


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
