"""Runs one job after the other and ends each job's whole process tree.

Started as ``python -I -S supervisor.py MARK``. A child subreaper: what a job's processes leave behind,
daemons included, becomes a child of this process, so "no child is left" means that no descendant is left.
Standard library and process_tree.py only, one thread, and no import that costs more than it saves, because every slot
starts one.

Requests (JSON lines on stdin), one job at a time:
    {"run": {argv, cwd, env, output, timeout, grace, user, streams}}
    {"end": {"grace": seconds}}
Replies (JSON lines on stdout):
    {"started": pid} or {"failed": {errno, message, what}}, then {"ended": {exit_code, signal, timed_out,
    cancelled, duration, user_cpu, system_cpu, max_rss_kb, survivors, ports}}

When stdin closes, everything is killed and the process exits.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import resource
import select
import signal
import sys
import time
from contextlib import suppress

TYPE_CHECKING = False  # typing costs 3 ms
if TYPE_CHECKING:
    from typing import Any, NoReturn
if TYPE_CHECKING or __name__ != "__main__":
    from testgrove.system.processes import process_tree
else:
    # Last: no file next to this one hides a standard module. Without pathlib, which costs a third of the start.
    sys.path.append(os.path.dirname(__file__))  # noqa: PTH120
    import process_tree

PR_SET_CHILD_SUBREAPER = 36
RLIMIT_LOCKS = 10
SETTLE = 0.2  # seconds for helpers that end just after their parent (multiprocessing's resource tracker)
RETRY = 0.02  # seconds between two passes of KILL
GIVE_UP = 10.0  # seconds of KILL after which a process cannot be ended: another user's, or stuck in the kernel
A_DAY = 86400.0  # the longest wait; the kernel counts milliseconds in 31 bits
SHOWN = 50  # survivors that are named


class Spawn(Exception):  # noqa: N818 - an answer, not an error of this program
    """The job could not be executed. what: command, cwd, output or user."""

    def __init__(self, number: int, what: str) -> None:
        super().__init__(os.strerror(number))
        self.reply = {"errno": number, "message": os.strerror(number), "what": what}


class Job:
    """A job and its tree. phase: running, settling (ended by itself), ending (TERM was sent), killing."""

    def __init__(self, request: dict[str, Any]) -> None:
        self.grace = float(request["grace"])
        self.started = time.monotonic()
        self.pid = spawn(request)
        self.phase = "running"
        self.due = float("inf") if request["timeout"] is None else self.started + request["timeout"]
        self.give_up = float("inf")
        self.result: dict[str, Any] = {
            "exit_code": None, "signal": None, "timed_out": False, "cancelled": False, "duration": 0.0,
            "user_cpu": 0.0, "system_cpu": 0.0, "max_rss_kb": 0, "survivors": [], "ports": [],
        }  # fmt: skip

    def reap(self) -> bool:
        """Collect every child that has ended; whether any child is left."""
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            self.result["user_cpu"] += usage.ru_utime
            self.result["system_cpu"] += usage.ru_stime
            self.result["max_rss_kb"] = max(self.result["max_rss_kb"], usage.ru_maxrss)
            if pid == self.pid:
                self._ended(os.waitstatus_to_exitcode(status))

    def _ended(self, code: int) -> None:
        self.result["duration"] = time.monotonic() - self.started
        self.result["exit_code" if code >= 0 else "signal"] = abs(code)
        if self.phase == "running":
            self.phase, self.due = "settling", time.monotonic() + SETTLE

    def end(self, reason: str, grace: float) -> None:
        """Begin to end the tree, or end it sooner. reason: timed_out or cancelled."""
        if self.phase == "running":
            self.result[reason] = True
            self.phase, self.due = "ending", time.monotonic() + grace
            if grace > 0:
                for pid in list(process_tree.descendants()):
                    process_tree.send(pid, signal.SIGTERM)
                    process_tree.send(pid, signal.SIGCONT)  # a stopped process does not see a TERM
        elif self.phase == "ending":
            self.due = min(self.due, time.monotonic() + grace)

    def advance(self) -> bool:
        """Do what is due; return whether the complete tree has ended (or cannot be stopped)."""
        if not self.reap():
            return True
        now = time.monotonic()
        if now < self.due:
            return False
        if self.phase == "running":
            self.end("timed_out", self.grace)
            return False
        if self.phase == "settling":
            self.name_survivors()
        if self.phase != "killing":
            self.phase, self.give_up = "killing", now + GIVE_UP
        if now > self.give_up:
            self.name_survivors()
            return True
        for pid in process_tree.descendants():  # killed as they are found: the tree grows while it is killed
            process_tree.send(pid, signal.SIGKILL)
        self.due = now + RETRY
        return not self.reap()

    def name_survivors(self) -> None:
        """Return who is left, and on which ports they listen."""
        pids = list(process_tree.descendants())[:SHOWN]
        self.result["survivors"] = [process_tree.describe(pid) for pid in pids]
        self.result["ports"] = [
            [port, process_tree.describe(pid)] for pid in pids for port in process_tree.listening(pid)
        ]


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
        *lines, self.buffer = (self.buffer + data).split(b"\n")
        for line in lines:
            self.handle(json.loads(line))
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
        data = json.dumps(reply).encode() + b"\n"
        try:
            while data:
                data = data[os.write(1, data) :]
        except BrokenPipeError:
            self.client_gone()


def spawn(request: dict[str, Any]) -> int:
    """Execute the job in a new session and return its pid. Raises Spawn.

    Without subprocess: importing it costs half as much as the rest of the start. The error pipe is closed by a
    successful exec; before that, the child reports the step that failed.
    """
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        execute(request, writer)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        failure = pipe.read()
    if failure:
        os.waitpid(pid, 0)
        number, what = failure.split()
        raise Spawn(int(number), what.decode())
    return pid


def execute(request: dict[str, Any], failure: int) -> NoReturn:
    """In the child: become the job, or report why not. Never returns into the parent's loop."""
    what, number = "output", errno.EIO
    try:
        os.get_exec_path({})  # imports a module, which the other user may not be able to read
        connect(request.get("streams") or [], request["output"])
        for ignored in (signal.SIGPIPE, signal.SIGXFSZ):  # by Python, and exec keeps what is ignored
            signal.signal(ignored, signal.SIG_DFL)
        what = "user"
        if request["user"]:
            uid, gid = request["user"]
            os.setgroups([])
            os.setgid(gid)
            os.setuid(uid)
        what = "cwd"
        if request["cwd"]:
            os.chdir(request["cwd"])
        what = "command"
        os.execvpe(request["argv"][0], request["argv"], request["env"])  # noqa: S606 - no shell is meant
    except OSError as error:
        number = error.errno or number
    except (ValueError, IndexError, TypeError):  # a NUL in a word, no word at all
        number = errno.EINVAL
    finally:
        os.write(failure, b"%d %s" % (number, what.encode()))
        os._exit(127)


def connect(streams: list[int], output: str | None) -> None:
    """Set the job's standard streams: its own and their terminal; else no input, its output, and no terminal."""
    if streams:
        for number, fd in enumerate(streams):
            os.dup2(fd, number)
            os.close(fd)
        return
    os.setsid()
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(os.open(output or os.devnull, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644), 1)
    os.dup2(1, 2)


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
    with suppress(ValueError, OSError):  # an administrator's limit; the run's own mark finds the tree too
        resource.setrlimit(RLIMIT_LOCKS, (mark, mark if hard == resource.RLIM_INFINITY else hard))


if __name__ == "__main__":
    os.chdir("/")  # so that the directory can be removed
    become_reaper(int(sys.argv[1]))
    Supervisor().run()
    os._exit(0)  # nothing to clean up, and another process waits
