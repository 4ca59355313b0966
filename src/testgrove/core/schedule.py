"""Which cell runs next: a pure state machine, fed with what happened, that answers with what to start."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from testgrove.core.plan import Cell

UNKNOWN_PERCENTILE = 0.9


class Schedule:
    """Longest first by recorded seconds, exclusive cells last; an unknown duration counts as the 90th percentile.

    For independent cells the longest remaining path is the cell itself.
    """

    def __init__(self, cells: Sequence[Cell], slots: int, durations: Mapping[str, float]) -> None:
        known = sorted(durations[cell.key] for cell in cells if cell.key in durations)
        unknown = known[int(UNKNOWN_PERCENTILE * (len(known) - 1))] if known else 0.0
        # sorted() is stable: cells that are alike keep the order in which the user named them.
        # What must run alone comes last: waiting for its turn, it would keep the others from theirs.
        self._waiting = sorted(cells, key=lambda cell: (cell.settings.exclusive, -durations.get(cell.key, unknown)))
        self._free = slots
        self._running: set[str] = set()

    @property
    def done(self) -> bool:
        """Nothing runs and nothing waits."""
        return not self._waiting and not self._running

    @property
    def waiting(self) -> tuple[Cell, ...]:
        """The cells that have not started, in the order in which they will."""
        return tuple(self._waiting)

    def start(self) -> list[Cell]:
        """The cells to start now."""
        count = min(self._free, len(self._waiting))
        chosen, self._waiting = self._waiting[:count], self._waiting[count:]
        self._free -= count
        self._running.update(cell.key for cell in chosen)
        return chosen

    def finished(self, key: str) -> list[Cell]:
        """A cell has ended; the cells to start in its place."""
        self._running.remove(key)
        self._free += 1
        return self.start()

    def cancel(self) -> list[Cell]:
        """Start nothing more; the cells that will not run."""
        left, self._waiting = self._waiting, []
        return left
