"""A job of a supervisor: executed, and watched until nothing of its process tree is left.

Imported by supervisor.py, from its folder: a module has its byte code already, a program is compiled at every start.
"""

from __future__ import annotations

import errno
import os
import time

TYPE_CHECKING = False  # typing costs 3 ms
if TYPE_CHECKING:
    import signal
    from typing import Any, NoReturn
else:
    import _signal as signal  # signal makes enumerations of its numbers, which costs as much as the rest
if TYPE_CHECKING or "." in __name__:
    from testgrove.system.processes import process_tree
else:
    import process_tree

SETTLE = 0.2  # seconds for helpers that end just after their parent (multiprocessing's resource tracker)
RETRY = 0.02  # seconds between two passes of KILL
GIVE_UP = 10.0  # seconds of KILL after which a process cannot be ended: another user's, or stuck in the kernel
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
        """Note who is left, and on which ports they listen."""
        pids = list(process_tree.descendants())[:SHOWN]
        self.result["survivors"] = [process_tree.describe(pid) for pid in pids]
        self.result["ports"] = [
            [port, process_tree.describe(pid)] for pid in pids for port in process_tree.listening(pid)
        ]


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
