"""Runs jobs whose complete process tree must have ended afterwards.

A Supervisor is the client of one supervisor.py; supervisor_pool provides them.
"""

from __future__ import annotations

import os
import select
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from testgrove.core.frozen import frozen
from testgrove.core.secret import Secret
from testgrove.errors import UnavailableError
from testgrove.system.processes import messages
from testgrove.system.processes.marks import Mark, end_marked, is_zombie, marks_of
from testgrove.system.processes.process import Call, not_executed, spawn_supervisor

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from testgrove.system.processes.process import Child, Word

_PR_SET_CHILD_SUBREAPER = 36
_START_TIMEOUT = 30.0  # seconds in which a supervisor must have executed a job
_CLOSE_TIMEOUT = 12.0  # a little more than the supervisor's own GIVE_UP
_LOOK = 0.5  # seconds that one poll takes at most, because a signal that comes just before it does not wake it up


@frozen
class Job:
    """A command for a supervisor. output: a file that stdout and stderr are appended to, or None to discard them.

    timeout, grace: seconds; grace is the time between TERM and KILL. user: uid and gid to run as (root only). A job in
    the foreground uses this process's standard streams and terminal instead; see SupervisorPool.foreground().
    """

    argv: Sequence[Word]
    cwd: Path
    env: Mapping[str, str | Secret]
    output: Path | None = None
    timeout: float | None = None
    grace: float = 5.0
    user: tuple[int, int] | None = None


@frozen
class JobResult:
    """How a job ended. Times in seconds, CPU of the whole tree.

    exit_code or signal is set, unless the job was lost or could not be ended.

    survivors: what lived on after the job's own end, or could not be ended, as ``pid command line``; ports: on which
    TCP ports they listened, each with who did.
    lost: the supervisor died; nothing of the job is left, and nothing else is known.
    """

    exit_code: int | None = None
    signal: int | None = None
    timed_out: bool = False
    cancelled: bool = False
    duration: float = 0.0
    user_cpu: float = 0.0
    system_cpu: float = 0.0
    max_rss_kb: int = 0
    survivors: tuple[str, ...] = ()
    ports: tuple[tuple[int, str], ...] = ()
    lost: bool = False


class Supervisor:
    """A process that runs one job after the other for us; see supervisor.py. Made by start() only.

    One thread starts jobs and waits; end() and kill() may be called from any. When this process dies, the
    supervisor ends everything and itself. When the supervisor is killed, its orphans are known by its own
    mark: their parent, session and environment may all have changed.
    """

    def __init__(self, process: Child, mark: Mark, streams: tuple[int, ...] = ()) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._streams = streams
        self.mark = mark
        self.busy = False
        self._process = process
        self._stdin, self._stdout = process.stdin, process.stdout
        self._sending = threading.Lock()
        self._buffer, self._replies = b"", list[dict[str, Any]]()
        self._started = 0.0

    @classmethod
    def start(cls, mark: Mark | None = None, streams: tuple[int, ...] = ()) -> Supervisor:
        """Start a supervisor without waiting for it. mark: its own, by default a new one. streams: three descriptors
        that its job gets as standard streams, with their terminal."""
        mark = mark or Mark.new()
        process = spawn_supervisor(str(mark.value), streams)
        _issued[mark] = process.pid
        return cls(process, mark, streams)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it can take a job."""
        return not self._stdin.closed and self._process.poll() is None

    def start_job(self, job: Job) -> int:
        """Start a job and return its pid.

        Raises PreconditionError for what cannot be executed (``command-not-found``,
        ``command-not-executable``, ``interpreter-missing``, ``cwd-missing``, ``output-refused``,
        ``user-refused``) and UnavailableError (``supervisor-lost``).
        """
        if self.busy:
            raise RuntimeError("the supervisor has a job already")
        call = Call(job.argv, job.env)
        self.busy, self._started = True, time.monotonic()
        self._send({"run": {
            "argv": call.words, "env": call.environ, "cwd": str(job.cwd),
            "output": None if job.output is None else str(job.output.absolute()),
            "timeout": job.timeout, "grace": job.grace, "user": job.user, "streams": self._streams,
        }})  # fmt: skip
        reply = self._receive(_START_TIMEOUT)
        if not reply:
            self._lost()
            raise UnavailableError("supervisor-lost", f"the supervisor was killed or hung before it started `{call}`")
        if "failed" in reply:
            self.busy = False
            failed = reply["failed"]
            raise not_executed(call, str(job.cwd), failed["errno"], failed["what"], "command-not-found")
        return int(reply["started"])

    def wait(self, timeout: float | None = None) -> JobResult | None:
        """The job's result, or None when it has not ended after so many seconds."""
        if not self.busy:
            raise RuntimeError("the supervisor has no job")
        reply = self._receive(timeout)
        if reply is None:
            return None
        if not reply:
            return self._lost()
        self.busy = False
        values = reply["ended"]
        ports = tuple((port, who) for port, who in values["ports"])
        return JobResult(**values | {"survivors": tuple(values["survivors"]), "ports": ports})

    def end(self, grace: float) -> None:
        """Ask for the job's end: TERM, grace seconds, KILL. A second call can only shorten the grace."""
        self._send({"end": {"grace": grace}})

    def kill(self) -> None:
        """Let the supervisor kill its tree at once and exit. wait() returns the result."""
        with self._sending, suppress(OSError):
            self._stdin.close()

    def close(self) -> None:
        """Kill everything and wait until it has ended. Raises UnavailableError if that fails."""
        if self._stdout.closed:
            return
        self.kill()
        while self._receive(_CLOSE_TIMEOUT):
            pass
        self._bury()
        self._stdout.close()
        _issued.pop(self.mark, None)

    def _bury(self) -> None:
        """Reap the supervisor, which is about to exit, or else is killed; end and reap what it leaves."""
        self._process.kill()
        self._process.wait()
        self.busy = False
        end_marked(self.mark)
        reap_orphans()

    def _send(self, request: dict[str, Any]) -> None:
        data = messages.packed(request)
        with self._sending, suppress(BrokenPipeError, ValueError):  # dead or killed: the next wait() reports it
            while data:
                data = data[os.write(self._stdin.fileno(), data) :]

    def _receive(self, timeout: float | None) -> dict[str, Any] | None:
        """The next reply; None at the timeout; an empty one when the supervisor has died."""
        deadline = None if timeout is None else time.monotonic() + timeout
        poll = select.poll()
        poll.register(self._stdout, select.POLLIN)
        while not self._replies:
            left = _LOOK if deadline is None else max(0.0, deadline - time.monotonic())
            if not poll.poll(min(left, _LOOK) * 1000):
                if deadline is None or time.monotonic() < deadline:
                    continue
                return None
            data = os.read(self._stdout.fileno(), 1 << 16)
            if not data:
                return {}
            self._replies, self._buffer = messages.received(self._buffer + data)
        return self._replies.pop(0)

    def _lost(self) -> JobResult:
        self.kill()
        self._bury()
        return JobResult(lost=True, duration=time.monotonic() - self._started)


_issued: dict[Mark, int] = {}  # the pids of this process's supervisors, by their marks


def is_supervised(pid: int) -> bool:
    """Return whether a process comes from a job of one of this process's supervisors, however it was started there."""
    return not _issued.keys().isdisjoint(marks_of(pid))


def become_subreaper() -> None:
    """Adopt the orphans of supervisors that die, instead of pid 1, so that they can be reaped."""
    import ctypes  # noqa: PLC0415 - 4 ms that most commands need not spend

    if ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise UnavailableError("subreaper-refused", "cannot adopt orphaned processes: no child subreaper support")


def reap_orphans() -> int:
    """Reap the zombies that supervisors left to this process, and return their number.

    Only these: other code in this process would lose the exit status of its child.
    """
    reaped = 0
    supervisors = set(_issued.values())
    for pid in _children():
        if pid not in supervisors and is_zombie(pid) and is_supervised(pid):
            with suppress(ChildProcessError):  # another thread was faster
                reaped += os.waitpid(pid, os.WNOHANG)[0] == pid
    return reaped


def _children() -> Iterable[int]:
    for task in Path("/proc/self/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):  # a thread that has just ended
            yield from map(int, (task / "children").read_bytes().split())
