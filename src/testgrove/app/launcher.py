"""services.base.Launcher over supervisors: what a service starts ends with the command, whatever happens."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path

from testgrove.core.connections.permitted import PermittedConnections
from testgrove.system.processes.supervision import Job, JobResult, Supervisor
from testgrove.system.processes.supervisor_pool import SupervisorPool, supervised_run

_FOR_EVER = 30 * 86400.0  # seconds; a server's time is its run's


class SupervisedServer:
    """A server under a supervisor of its own; see services.base.RunningProcess."""

    def __init__(self, supervisor: Supervisor, pid: int, hold: ExitStack) -> None:
        self.pid = pid
        self._supervisor = supervisor
        self._hold = hold
        self._result: JobResult | None = None
        self._lock = threading.Lock()

    def poll(self) -> int | None:
        """Implement RunningProcess."""
        with self._lock:
            return self._wait(0.0)

    def stop(self, *, signal: int, timeout: float) -> None:
        """Implement RunningProcess."""
        with self._lock:
            if self._wait(0.0) is None:
                # Not reaped yet, so the pid is still this process's, or just unused.
                with suppress(ProcessLookupError):
                    os.kill(self.pid, signal)
                if self._wait(timeout) is None:
                    self._supervisor.end(0.0)
                    self._wait(None)
            self._hold.close()

    def _wait(self, timeout: float | None) -> int | None:
        if self._result is None:
            self._result = self._supervisor.wait(timeout)
        if self._result is None:
            return None
        code = self._result.exit_code
        return code if code is not None else -(self._result.signal or 9)


class SupervisedLauncher:
    """Runs servers and tools under supervisors. cancel: stops the tools when set, after an interruption of the run."""

    def __init__(self, supervisors: SupervisorPool, cancel: threading.Event) -> None:
        self._supervisors = supervisors
        self._cancel = cancel

    def start(
        self,
        argv: Sequence[str],
        *,
        cwd: Path,
        env: Mapping[str, str],
        log: Path,
        user: tuple[int, int] | None = None,
    ) -> SupervisedServer:
        """Implement Launcher."""
        with ExitStack() as stack:
            supervisor = stack.enter_context(self._supervisors.borrow())
            pid = supervisor.start_job(Job(argv, cwd, env, log, _FOR_EVER, user=user))
            return SupervisedServer(supervisor, pid, stack.pop_all())

    def run(
        self,
        argv: Sequence[str],
        *,
        cwd: Path,
        env: Mapping[str, str],
        timeout: float,
        user: tuple[int, int] | None = None,
        permitted: PermittedConnections | None = None,
    ) -> str:
        """Implement Launcher."""
        run = partial(supervised_run, self._supervisors, argv, cwd=cwd, env=env, timeout=timeout, user=user)
        if permitted is None:
            return run(cancel=self._cancel).stdout
        from testgrove.app.connections.tool import ConnectedTool  # noqa: PLC0415 - for migrations alone

        tool = ConnectedTool(permitted, env, cwd, self._cancel)
        with tool.judged(argv):
            return run(cancel=tool, watch=tool.watching).stdout
