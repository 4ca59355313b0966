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
    """Lets so many start at once. places: how many."""

    def __init__(self, places: int) -> None:
        self._places = Semaphore(places)

    def enter(self, cancel: Flag) -> Start:
        """Wait for a place; no longer than until the run is cancelled."""
        while not self._places.acquire(timeout=_POLL):
            if cancel.is_set():
                return Start(None)
        return Start(self._places)


class Start:
    """A start in progress. It receives events, and must end at the latest when its process ends."""

    def __init__(self, places: Semaphore | None) -> None:
        self._places = places
        self._until = time.monotonic() + _HELD

    @property
    def going_on(self) -> bool:
        """It still has its place."""
        return self._places is not None

    def look(self, *, running: bool) -> None:
        """running: its tests run. Give the place back, if so, or if it has been held for long enough."""
        if running or time.monotonic() > self._until:
            self.over()

    def over(self) -> None:
        """Give the place back. Calling it twice is fine."""
        places, self._places = self._places, None
        if places:
            places.release()
