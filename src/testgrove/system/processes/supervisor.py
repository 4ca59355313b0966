"""Runs one job after the other and ends each job's whole process tree.

Started as ``python -I -S supervisor.py MARK``. A child subreaper: what a job's processes leave behind,
daemons included, becomes a child of this process, so "no child is left" means that no descendant is left.
Standard library and the modules beside it only, one thread, and no import that costs more than it saves, because every
slot starts one.

Requests (messages.py, on stdin), one job at a time:
    {"run": {argv, cwd, env, output, timeout, grace, user, streams}}
    {"end": {"grace": seconds}}
Replies (on stdout):
    {"started": pid} or {"failed": {errno, message, what}}, then {"ended": {exit_code, signal, timed_out,
    cancelled, duration, user_cpu, system_cpu, max_rss_kb, survivors, ports}}

When stdin closes, everything is killed and the process exits.
"""

from __future__ import annotations

import ctypes
import os
import resource
import select
import sys
import time

TYPE_CHECKING = False  # typing costs 3 ms
if TYPE_CHECKING:
    import signal
    from typing import Any
else:
    import _signal as signal  # signal makes enumerations of its numbers, which costs as much as the rest
if TYPE_CHECKING or __name__ != "__main__":
    from testgrove.system.processes import messages
    from testgrove.system.processes.supervised_job import Job, Spawn
else:
    # Last: no file next to this one hides a standard module. Without pathlib, which costs a third of the start.
    sys.path.append(os.path.dirname(__file__))  # noqa: PTH120
    import messages
    from supervised_job import Job, Spawn

PR_SET_CHILD_SUBREAPER = 36
RLIMIT_LOCKS = 10
A_DAY = 86400.0  # the longest wait; the kernel counts milliseconds in 31 bits


class Supervisor:
    """The event loop: requests, ended children, and the time at which the job's next step is due."""

    def __init__(self) -> None:
        self.job: Job | None = None
        self.open = True  # whether the client still lives
        self.buffer = b""
        self.wake = wakeup()

    def run(self) -> None:
        """Serve until the client has gone and nothing of its jobs is left."""
        poll = select.poll()
        poll.register(0, select.POLLIN)
        poll.register(self.wake, select.POLLIN)
        while self.open or self.job:
            left = self.job.due - time.monotonic() if self.job else A_DAY
            for fd, _ in poll.poll(min(max(left, 0.0), A_DAY) * 1000):
                if fd == self.wake:
                    os.read(self.wake, 4096)
                elif not self.read():
                    poll.unregister(0)
            if self.job and self.job.advance():
                self.finish(self.job)

    def finish(self, job: Job) -> None:
        """Report a job. A process that could not be ended must not be taken for a part of the next one."""
        self.job = None
        self.say({"ended": job.result})
        if job.reap():
            os._exit(1)

    def read(self) -> bool:
        """Take requests; False when the client has closed its end, or has died."""
        data = os.read(0, 1 << 16)
        requests, self.buffer = messages.received(self.buffer + data)
        for request in requests:
            self.handle(request)
        if not data:
            self.client_gone()
        return bool(data)

    def handle(self, request: dict[str, Any]) -> None:
        if "run" in request:
            try:
                self.job = Job(request["run"])
            except Spawn as failure:
                self.say({"failed": failure.reply})
            else:
                self.say({"started": self.job.pid})
        elif self.job:  # otherwise the job ended while the request was on its way
            self.job.end("cancelled", float(request["end"]["grace"]))

    def client_gone(self) -> None:
        self.open = False
        if self.job:
            self.job.end("cancelled", 0.0)

    def say(self, reply: dict[str, Any]) -> None:
        data = messages.packed(reply)
        try:
            while data:
                data = data[os.write(1, data) :]
        except BrokenPipeError:
            self.client_gone()


def wakeup() -> int:
    """A descriptor that becomes readable with every SIGCHLD.

    The terminal's signals get a handler that does nothing: exec resets a handler, but would keep SIG_IGN.
    """
    for number in signal.valid_signals():
        if signal.getsignal(number) == signal.SIG_IGN and number not in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)  # inherited, from nohup for instance
    for number in (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    return reader


def become_reaper(mark: int) -> None:
    """Adopt all orphans below this process, and mark all descendants (see marks.py)."""
    if ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise SystemExit("testgrove's supervisor could not become a child subreaper")
    hard = resource.getrlimit(RLIMIT_LOCKS)[1]
    try:  # noqa: SIM105 - contextlib costs as much as everything else that is imported
        resource.setrlimit(RLIMIT_LOCKS, (mark, mark if hard == resource.RLIM_INFINITY else hard))
    except (ValueError, OSError):
        pass  # an administrator's limit; the run's own mark finds the tree too


if __name__ == "__main__":
    os.chdir("/")  # so that the directory can be removed
    become_reaper(int(sys.argv[1]))
    Supervisor().run()
    os._exit(0)  # nothing to clean up, and another process waits
