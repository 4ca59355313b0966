"""A fair reader-writer lock: any number of holders share it, or a single one holds it exclusively.

It uses two bytes of a file. A process first locks the gate, then its side of the road behind it, and then releases the
gate. So a process that waits for the exclusive side holds the gate: no other one overtakes it, and after it, those that
wait at the gate have their chance before the next exclusive one.
"""

from __future__ import annotations

from pathlib import Path

from testgrove.system.locks import Lock, try_byte

_GATE, _ROAD = 0, 1


class FairLock:
    """One holder of the lock, released by release() or by the kernel. Used by one thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._gate: Lock | None = None
        self._road: Lock | None = None

    def try_take(self, *, exclusive: bool) -> bool:
        """Return whether the lock is held now. Until it is, or release(), the position reached so far is kept."""
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
