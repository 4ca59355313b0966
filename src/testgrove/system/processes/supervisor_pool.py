"""A pool of supervisors, and running long tools (uv, a checkout, a migration) under one."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from testgrove.core.secret import Secret
from testgrove.errors import UnavailableError
from testgrove.system.processes.marks import Mark
from testgrove.system.processes.process import Call, Completed, ending_of, scrubbed, text_of
from testgrove.system.processes.supervision import Job, JobResult, Supervisor

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from testgrove.system.processes.process import Word


_CANCEL_POLL = 0.05  # seconds between two looks at a cancel flag


_CANCEL_GRACE = 5.0  # seconds that a cancelled tool has to tidy up


class SupervisorPool:
    """Supervisors to borrow, from any thread.

    on_start: called with the mark of each supervisor before it starts, so that it can be recorded.
    """

    def __init__(self, on_start: Callable[[Mark], None] | None = None) -> None:
        self._on_start = on_start
        self._lock = threading.Lock()
        self._idle: list[Supervisor] = []
        self._lent: set[Supervisor] = set()
        self._closed = False

    @contextmanager
    def borrow(self) -> Iterator[Supervisor]:
        """A supervisor without a job. One that still has a job afterwards, or has died, is not reused."""
        supervisor = self._take()
        try:
            yield supervisor
        finally:
            with self._lock:
                self._lent.discard(supervisor)
                reusable = supervisor.alive and not supervisor.busy and not self._closed
                if reusable:
                    self._idle.append(supervisor)
            if not reusable:
                supervisor.close()

    def _take(self) -> Supervisor:
        with self._lock:
            if self._closed:
                raise _pool_closed()
            while self._idle:
                supervisor = self._idle.pop()
                if supervisor.alive:
                    self._lent.add(supervisor)
                    return supervisor
                supervisor.close()
        return self._start(self._lent.add)

    @contextmanager
    def foreground(self) -> Iterator[Supervisor]:
        """Return a supervisor for one job that takes over this process's streams, terminal and signals."""
        streams = tuple(os.dup(number) for number in range(3))
        try:
            supervisor = self._start(self._lent.add, streams)
        finally:
            for fd in streams:
                os.close(fd)
        try:
            yield supervisor
        finally:
            with self._lock:
                self._lent.discard(supervisor)
            supervisor.close()

    def start_ahead(self, number: int) -> None:
        """Start supervisors that will soon be borrowed: they come up while something else is done."""
        for _ in range(number):
            self._start(self._idle.append)

    def _start(self, keep: Callable[[Supervisor], None], streams: tuple[int, ...] = ()) -> Supervisor:
        mark = Mark.new()
        if self._on_start:
            self._on_start(mark)
        supervisor = Supervisor.start(mark, streams)
        with self._lock:
            if not self._closed:
                keep(supervisor)
                return supervisor
        supervisor.close()
        raise _pool_closed()

    def dismiss(self) -> None:
        """Let the supervisors without a job end while something else is done. borrow() starts another one."""
        with self._lock:
            for supervisor in self._idle:
                supervisor.kill()

    def close(self) -> set[Mark]:
        """End all supervisors. A borrowed one kills its job; its borrower sees a cancelled result.

        Returns the marks of those of which it is known that no process is left.
        """
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
            for supervisor in self._lent:
                supervisor.kill()
        for supervisor in idle:
            supervisor.kill()  # all at once, and only then wait for each
        for supervisor in idle:
            supervisor.close()
        return {supervisor.mark for supervisor in idle}


def _pool_closed() -> UnavailableError:
    return UnavailableError("pool-closed", "testgrove is stopping and starts no more processes")


class CancelFlag(Protocol):
    """A flag that ends a tool when it is set, such as a threading.Event."""

    def is_set(self) -> bool:
        """Return whether the tool is to end."""


Watch = Callable[[Supervisor], AbstractContextManager[object]]


def _unwatched(_supervisor: Supervisor) -> AbstractContextManager[object]:
    return nullcontext()


def supervised_run(
    pool: SupervisorPool,
    argv: Sequence[Word],
    *,
    cwd: str | Path | None = None,
    env: Mapping[str, str | Secret] | None = None,
    timeout: float = 1800.0,
    log: Path | None = None,
    check: bool = True,
    user: tuple[int, int] | None = None,
    cancel: CancelFlag | None = None,
    watch: Watch = _unwatched,
) -> Completed:
    """Run a long tool under a supervisor; stdout contains stdout and stderr in their order, stderr is empty.

    env: by default scrubbed(). log: a file that the output is also appended to. user: uid and gid to run as (root
    only). cancel: stops the tool when set. watch: a context around the tool's work, called with its supervisor.
    Raises PreconditionError like Supervisor.start_job(), and UnavailableError (``tool-timeout``,
    ``tool-cancelled``, ``tool-lost``; with check, ``tool-failed``).
    """
    call = Call(argv, env)
    with _capture(log) as (path, read), pool.borrow() as supervisor:
        supervisor.start_job(
            Job(argv, Path(cwd or ".").absolute(), scrubbed() if env is None else env, path, timeout, user=user)
        )
        with watch(supervisor):
            result = _await(supervisor, cancel)
        output = text_of(read())
    code = result.exit_code if result.exit_code is not None else -(result.signal or signal.SIGKILL)
    if result.lost:
        raise call.failure("tool-lost", "was lost: its supervisor was killed", output)
    if result.timed_out:
        raise call.failure("tool-timeout", f"timed out after {timeout:g} s", output)
    if result.cancelled:
        raise call.failure("tool-cancelled", "was cancelled", output)
    if check and code != 0:
        raise call.failure("tool-failed", ending_of(code), output, code)
    return Completed(call.shown, code, output, "")


def _await(supervisor: Supervisor, cancel: CancelFlag | None) -> JobResult:
    told = False
    while (result := supervisor.wait(None if cancel is None or told else _CANCEL_POLL)) is None:
        if cancel is not None and cancel.is_set():
            supervisor.end(_CANCEL_GRACE)
            told = True
    return result


@contextmanager
def _capture(log: Path | None) -> Iterator[tuple[Path, Callable[[], bytes]]]:
    """A file for a tool's output, and a function that reads what this tool wrote.

    Without a log it has no name on disk, so that nothing is left of it when testgrove is killed.
    """
    if log is not None:
        start = log.stat().st_size if log.exists() else 0
        yield log, lambda: log.read_bytes()[start:]
        return
    fd = os.memfd_create("testgrove-output")
    try:
        yield Path(f"/proc/{os.getpid()}/fd/{fd}"), lambda: os.pread(fd, os.fstat(fd).st_size, 0)
    finally:
        os.close(fd)
