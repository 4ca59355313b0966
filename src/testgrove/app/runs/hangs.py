"""An attempt that its timeout ends: which tests had not ended, and what its processes were doing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from testgrove.app.runs.plugin_log import SessionLog
from testgrove.core.runs.events import TestFinished
from testgrove.core.runs.stacks import LIMIT, innermost
from testgrove.system.files import explained
from testgrove.system.processes.stacks import ask, processes, written

_LEAD = 0.5  # seconds before the timeout at which stacks are asked for: afterwards the processes are being ended


class Hang:
    """Watches for the timeout of one attempt. session: its folder; timeout: seconds, None for none; roots: returns the
    ancestors of its processes."""

    def __init__(
        self, log: SessionLog, session: Path, timeout: float | None, roots: Callable[[], Sequence[int]]
    ) -> None:
        self._log, self._session, self._roots = log, session, roots
        self._due = time.monotonic() + timeout - min(_LEAD, timeout / 5) if timeout else float("inf")
        self._processes: list[str] = []

    def look(self) -> None:
        """Ask for the stacks once the time is almost up."""
        if time.monotonic() >= self._due:
            self._due = float("inf")
            roots = self._roots()
            self._processes = processes(roots)
            ask(roots, self._log.facts.stacks)

    def write(self, path: Path, tree: Path) -> None:
        """Write the stacks to a file, and tell the attempt's facts where the project's own code was."""
        stacks = written(self._session)
        self._log.facts.at = innermost("\n".join(stacks), str(tree))
        lines = ["Processes shortly before the timeout:", *self._processes, "", *stacks]
        with explained("write the stacks to", path):
            path.write_text("\n".join(lines)[:LIMIT], encoding="utf-8")

    def tests(self, reason: str) -> Iterator[TestFinished]:
        """Yield the tests that had not ended, as errors with their stacks."""
        yield from self._log.unfinished(reason, written(self._session))
