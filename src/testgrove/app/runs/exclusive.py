"""Exclusive suites: one runs while no other cell works, in any project and shell of the user.

A cell holds the lock shared while it works, including preparation and cleaning up; an exclusive one prepares with the
shared lock, releases it, and runs with the exclusive one. No other lock is held while waiting for the shared one, so
there is no deadlock. A testgrove command that a cell's own suite runs is part of the cell: it takes no lock, because it
would wait for the end of the cell.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from threading import Event
from typing import Self

from testgrove.app.project import Project
from testgrove.core.text import some
from testgrove.errors import PreconditionError
from testgrove.system.fair_lock import FairLock
from testgrove.system.plugin import SESSION

_PATIENCE = 12 * 3600.0  # seconds; a suite's own timeout is an hour by default
_PAUSE = 0.05  # seconds between two tries
_LOOK = 1.0  # seconds between two looks at who is in the way
_SHOWN = 3


class CellLock:
    """The lock of one cell, shared or exclusive. on_wait: called with what it waits for. cancel: set when the run is
    interrupted."""

    def __init__(self, project: Project, cancel: Event, on_wait: Callable[[str], None]) -> None:
        self._project, self._cancel, self._on_wait = project, cancel, on_wait
        self._lock = FairLock(project.locations.exclusive_lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def take(self, *, exclusive: bool, worktree: str = "") -> None:
        """Return when the lock is held; one that is held already is released first.

        worktree: the cell's own, once it is made. Raises PreconditionError (``cancelled``, ``turn-timeout``).
        """
        if SESSION in os.environ:
            return
        self._lock.release()
        deadline, told, pause = time.monotonic() + _PATIENCE, "", _PAUSE / 8
        look = time.monotonic() + _PAUSE  # another cell may be in the gate for a moment
        while not self._lock.try_take(exclusive=exclusive):
            now = time.monotonic()
            if now > look:
                reason, look = self._reason(worktree, exclusive=exclusive), now + _LOOK
                if reason != told:
                    self._on_wait(reason)
                    told = reason
            if now > deadline:
                raise PreconditionError("turn-timeout", f"waited {_PATIENCE / 3600:g} h, {told}", hint="testgrove list")
            pause = min(pause * 2, _PAUSE)
            if self._cancel.wait(pause):
                raise PreconditionError("cancelled", "the run was interrupted")

    def _reason(self, own: str, *, exclusive: bool) -> str:
        who = some(self._running(own), _SHOWN) or "a starting cell"
        return f"to run alone, for {who}" if exclusive else f"for an exclusive suite: {who}"

    def _running(self, own: str) -> list[str]:
        """Return the cells that work now or wait for the exclusive lock, with their runs."""
        return [
            f"{each.id} of {each.main.name} (pid {each.pid})"
            for each in self._project.store.worktrees.running()
            if (each.id, each.project) != (own, self._project.id)
        ]
