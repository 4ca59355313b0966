"""One cell's databases, made while its environment is: neither needs the other, but for a migration."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait

from testgrove.app.worktrees.workspace import Workspace
from testgrove.core.model import DatabaseAccess
from testgrove.errors import PreconditionError

Make = Callable[[], DatabaseAccess]


class AbandonedError(Exception):
    """The cell has already failed, so its databases are not needed. Caught internally, never shown."""


class DatabaseCreation:
    """The databases of a cell while they are created, one thread for each engine.

    begin: returns a function for each engine that creates its database in the thread; it receives this object, to
    report what it waits for. cancel: set when the run is interrupted.
    """

    def __init__(
        self,
        engines: Sequence[str],
        begin: Callable[[Workspace, DatabaseCreation], Mapping[str, Make]],
        cancel: threading.Event | None = None,
    ) -> None:
        self._begin, self._cancel = begin, cancel
        self._futures: dict[str, Future[DatabaseAccess]] = {}
        self._workspace: Workspace
        self._environment = threading.Event()
        self._abandoned = threading.Event()
        self._shown = threading.Event()
        self._reason = " and ".join(engines)

    def begin(self, workspace: Workspace) -> None:
        """The checkout is complete, and what its environment will hold is known."""
        self._workspace = workspace
        makers = self._begin(workspace, self)
        pool = ThreadPoolExecutor(len(makers), thread_name_prefix="databases")
        self._futures = {engine: pool.submit(make) for engine, make in makers.items()}
        pool.shutdown(wait=False)

    def finish(self) -> dict[str, DatabaseAccess]:
        """The environment is ready: wait for the databases. Raises what making them raised."""
        self._environment.set()
        self._shown.set()
        self._workspace.on_phase("databases", self._reason)
        return {engine: future.result() for engine, future in self._futures.items()}

    def abandon(self) -> None:
        """Give them up: return when no creation is running any more."""
        self._abandoned.set()
        self._environment.set()
        wait(self._futures.values())

    def say(self, reason: str) -> None:
        """Report the current step or wait. It is shown once the cell waits for nothing else."""
        self.check()
        before, self._reason = self._reason, reason
        if self._shown.is_set() and reason != before:
            self._workspace.on_phase("databases", reason)

    def check(self) -> None:
        """Raise AbandonedError, or PreconditionError (``cancelled``), when the databases are no longer needed."""
        if self._abandoned.is_set():
            raise AbandonedError
        if self._cancel is not None and self._cancel.is_set():
            raise PreconditionError("cancelled", "the run was interrupted")

    def await_environment(self) -> None:
        """Return when commands can run in the worktree's environment."""
        self._environment.wait()
        self.check()
