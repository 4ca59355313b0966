"""How many suites of a run start at the same time.

The start of a test process is all CPU: the interpreter, its imports, the collection of tests. Started together, they
share the CPUs and all start late; started one after another, the first ones already run their tests, and wait for what
tests wait for, while the next ones start.
"""

from __future__ import annotations

import time
from threading import Event as Flag
from threading import Semaphore

_HELD = 1.0  # seconds that a start counts as one: longer is not the start of a process, but work
_POLL = 0.05  # seconds between two looks at whether the run still goes on


class StartGate:
    """Limits how many attempts start at once. permits: the limit."""

    def __init__(self, permits: int) -> None:
        self._permits = Semaphore(permits)

    def enter(self, cancel: Flag) -> StartPermit:
        """Wait for a permit, at most until the run is cancelled."""
        while not self._permits.acquire(timeout=_POLL):
            if cancel.is_set():
                return StartPermit(None)
        return StartPermit(self._permits)


class StartPermit:
    """The permit of one starting attempt. It must be released at the latest when its process ends."""

    def __init__(self, permits: Semaphore | None) -> None:
        self._permits = permits
        self._until = time.monotonic() + _HELD

    @property
    def going_on(self) -> bool:
        """Whether the permit is still held."""
        return self._permits is not None

    def look(self, *, running: bool) -> None:
        """Release the permit if its tests run, or if it has been held for long enough. running: its tests run."""
        if running or time.monotonic() > self._until:
            self.over()

    def over(self) -> None:
        """Release the permit. Idempotent."""
        permits, self._permits = self._permits, None
        if permits:
            permits.release()
