"""Turns: a lock with two sides. Any number of holders share one side, or a single one has the other.

Two bytes of a file. Whoever comes takes the gate first, then its side of the road behind it, and lets the gate go once
it has that. So one that waits for the exclusive side stands in the gate: nobody overtakes it, and when it has been
there, who waits at the gate has its chance before the next.
"""

from __future__ import annotations

from pathlib import Path

from testgrove.system.locks import Lock, try_byte

_GATE, _ROAD = 0, 1


class Turn:
    """One holder's turn, released by release() or by the kernel. Used by one thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._gate: Lock | None = None
        self._road: Lock | None = None

    def try_take(self, *, exclusive: bool) -> bool:
        """Whether the turn has come. Until it has, or release(), the place that was won so far is kept."""
        self._gate = self._gate or try_byte(self._path, _GATE)
        if self._gate is None:
            return False
        self._road = try_byte(self._path, _ROAD, shared=not exclusive)
        if self._road is None:
            return False
        self._gate.release()
        self._gate = None
        return True

    def release(self) -> None:
        """Let go. A second call does nothing."""
        for lock in (self._gate, self._road):
            if lock is not None:
                lock.release()
        self._gate = self._road = None
