"""Marks: numbers that the kernel passes on to every descendant of a process.

An environment variable can be cleared, a session can be left, a parent can die. A resource limit without effect
stays: it survives fork, exec, setsid, `env -i`, `unshare --user` and setuid, and is visible in /proc/PID/limits. A
run's mark is RLIMIT_RTTIME, which only affects real-time processes. A supervisor's own mark is RLIMIT_LOCKS,
which Linux has ignored since 2.4; so the two do not displace each other.

Soft limit: the newest mark. Hard limit: the first mark; it stays, because an unprivileged testgrove inside a job
of another one cannot raise it; so both the outer and the inner one find all their processes. (A third one inside
the second replaces the second's mark.)
"""

from __future__ import annotations

import errno
import os
import re
import resource
import select
import signal
import threading
import time
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

from testgrove.core.frozen import frozen
from testgrove.errors import PreconditionError, UnavailableError, UsageError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

RLIMIT_LOCKS = 10  # resource does not name these two
RLIMIT_RTTIME = 15

# A mark from its top: 7 bits that distinguish it from a real limit | 34 bits that count down in quarters of a second
# from 1970, so that a later mark is smaller and fits below an outer one | 22 bits of pid, so that no two
# processes make the same one. 63 bits in all: setrlimit takes a signed number.
_PREFIX = 0x74 << 56
_TICKS = 1 << 34
_PID_BITS = 22

_CHASE = 0.03  # seconds for which new processes are followed without finding one

_lock = threading.Lock()
_previous = _TICKS


@frozen
class Mark:
    """A number that marks a process and all its descendants."""

    value: int

    def __str__(self) -> str:
        """The key to keep in a record: 14 hexadecimal digits."""
        return f"{self.value & ~_PREFIX:014x}"

    @classmethod
    def parse(cls, key: str) -> Mark:
        """The mark of a key. Raises UsageError for anything that str() does not make."""
        if not re.fullmatch("[0-9a-f]{14}", key):
            raise UsageError("invalid-mark", f"{key!r} is not the key of a mark")
        return cls(_PREFIX | int(key, 16))

    @classmethod
    def new(cls) -> Mark:
        """Return an unused mark, lower than those that this process has or has created."""
        global _previous  # noqa: PLW0603 - the clock's resolution is coarser than two calls
        carried = [_ticks(mark) for kind in (RLIMIT_RTTIME, RLIMIT_LOCKS) for mark in _own(kind)]
        with _lock:
            _previous = min(_TICKS - 1 - int(time.time() * 4), *(below - 1 for below in [*carried, _previous]))
            return cls(_PREFIX | _previous << _PID_BITS | os.getpid())

    def apply(self, kind: int = RLIMIT_RTTIME) -> None:
        """Set the mark on the calling process, and so on every process that it starts from now on.

        Raises PreconditionError where an administrator's lower hard limit forbids it.
        """
        hard = resource.getrlimit(kind)[1]
        try:
            resource.setrlimit(kind, (self.value, hard if _is_mark(hard) else self.value))
        except (ValueError, OSError) as error:
            raise PreconditionError(
                "mark-refused",
                f"cannot mark processes: the hard limit for resource {kind} is {hard}",
                hint="start testgrove without that limit: ulimit -R unlimited",
            ) from error


@frozen
class MarkedProcess:
    """A living process with a mark. start_time: clock ticks since the machine started."""

    pid: int
    start_time: int
    command: str

    def __str__(self) -> str:
        return f"{self.pid} {self.command}"


def marks_of(pid: int) -> tuple[Mark, ...]:
    """Return all marks of a process, the newest first; a zombie still has them."""
    words = (int(word) for word in _read(f"{pid}/limits").split() if word.isdigit())
    return tuple(Mark(value) for value in sorted({word for word in words if _is_mark(word)}))


def mark_of(pid: int) -> Mark | None:
    """Return the newest mark of a process, or None."""
    return next(iter(marks_of(pid)), None)


def is_zombie(pid: int) -> bool:
    """Return whether a process has ended and waits to be reaped."""
    return _start_time(pid) is None and bool(_read(f"{pid}/stat"))


def lives(pid: int) -> bool:
    """Return whether a process is there and has not ended."""
    return _start_time(pid) is not None


def marked(mark: Mark, *, exclude: Collection[int] = ()) -> list[MarkedProcess]:
    """Return the living processes with a mark, including the calling one, newest pid first."""
    return list(_among(_all_pids(), mark, exclude))


def end_marked(
    mark: Mark, *, exclude: Collection[int] = (), grace: float = 0.0, timeout: float = 5.0
) -> list[MarkedProcess]:
    """Stop all processes with a mark, except the calling one, and return them.

    grace: seconds between TERM and KILL; 0 kills at once. timeout: seconds that a KILL may take. Raises
    UnavailableError (``processes-survive``) for those that cannot be stopped.
    """
    exclude = {*exclude, os.getpid()}
    ended: dict[int, MarkedProcess] = {}
    if grace > 0:
        found = marked(mark, exclude=exclude)
        ended.update((process.pid, process) for process in found)
        _signal(mark, found, signal.SIGTERM, time.monotonic() + grace)
    deadline = time.monotonic() + timeout
    while found := _kill_pass(mark, exclude, deadline):
        ended.update((process.pid, process) for process in found)
        if time.monotonic() > deadline:
            names = "; ".join(str(process) for process in found[:10])
            message, pids = f"cannot stop these processes: {names}", [process.pid for process in found]
            raise UnavailableError("processes-survive", message, hint="stop them as the user who owns them", pids=pids)
        _signal(mark, found, signal.SIGKILL, min(deadline, time.monotonic() + 0.1))
    return list(ended.values())


def _kill_pass(mark: Mark, exclude: Collection[int], deadline: float) -> list[MarkedProcess]:
    """Kill processes with the mark as they are found, and return them. An empty result proves that there are none.

    A single scan does not prove that: a parent that ended during the scan may have left an unseen child. So the pids
    that the kernel assigned during the scan are checked, too, until it has assigned none; this also finds processes
    that change their pid faster than a scan takes.
    """
    found: list[MarkedProcess] = []
    newest, pids, give_up = _newest_pid(), _all_pids(), 0.0
    while True:
        killed = 0
        for process in _among(pids, mark, exclude):
            _signal(mark, [process], signal.SIGKILL, 0.0)
            found.append(process)
            killed += 1
        if killed or not give_up:
            give_up = min(deadline, time.monotonic() + _CHASE)
        latest = _newest_pid()
        if latest == newest or time.monotonic() > give_up:
            return found
        pids = range(latest, newest, -1) if latest > newest else _all_pids()
        newest = latest


def _all_pids() -> Sequence[int]:
    """The newest first: they are the ones that fork away."""
    names = os.listdir("/proc")  # noqa: PTH208 - a Path for each process would double the time
    return sorted((int(name) for name in names if name.isdigit()), reverse=True)


def _newest_pid() -> int:
    """The pid that was handed out last."""
    return int(_read("loadavg").split()[-1])


def _among(pids: Iterable[int], mark: Mark, exclude: Collection[int]) -> Iterator[MarkedProcess]:
    """Return those with the mark that are alive."""
    for pid in pids:
        if _carries(pid, mark) and pid not in exclude and (start_time := _start_time(pid)) is not None:
            yield MarkedProcess(pid, start_time, _command(pid))


def _carries(pid: int, mark: Mark) -> bool:
    return b" %d " % mark.value in _read(f"{pid}/limits")


def _signal(mark: Mark, processes: Collection[MarkedProcess], number: signal.Signals, deadline: float) -> None:
    """Send a signal to those that are still the same processes, and wait for their end until the deadline."""
    with ExitStack() as stack:
        poll = select.poll()
        waiting = set()
        for process in processes:
            with suppress(ProcessLookupError, PermissionError):  # ended, or another user's: the next scan shows it
                fd = os.pidfd_open(process.pid)
                stack.callback(os.close, fd)
                if _carries(process.pid, mark) and _start_time(process.pid) == process.start_time:
                    poll.register(fd, select.POLLIN)
                    waiting.add(fd)
                    signal.pidfd_send_signal(fd, number)
                    signal.pidfd_send_signal(fd, signal.SIGCONT)  # a stopped process does not see a TERM
        while waiting and (left := deadline - time.monotonic()) > 0:
            for fd, _ in poll.poll(left * 1000):
                poll.unregister(fd)
                waiting.discard(fd)


def _own(kind: int) -> list[int]:
    return [value for value in resource.getrlimit(kind) if _is_mark(value)]


def _is_mark(value: int) -> bool:
    return value > 0 and value >> 56 == _PREFIX >> 56


def _ticks(value: int) -> int:
    return (value & ~_PREFIX) >> _PID_BITS


def _read(name: str) -> bytes:
    """Return a file in /proc; empty when its process has ended or is hidden from this user.

    Raises OSError when no descriptors are left: an existing process would be missed.
    """
    try:
        fd = os.open(f"/proc/{name}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
            raise
        return b""
    try:
        return os.read(fd, 8192)
    except OSError:
        return b""
    finally:
        os.close(fd)


def _start_time(pid: int) -> int | None:
    """Return field 22 of /proc/PID/stat, or None for a process that has ended or is a zombie."""
    fields = _read(f"{pid}/stat").rpartition(b")")[2].split()
    if not fields or (fields[0] in b"ZX" and fields[17] == b"1"):  # a dead leader may have living threads
        return None
    return int(fields[19])


def _command(pid: int) -> str:
    words = _read(f"{pid}/cmdline").rstrip(b"\0").replace(b"\0", b" ") or _read(f"{pid}/comm").strip()
    return words.decode(errors="replace")[:200]
