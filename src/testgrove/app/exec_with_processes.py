"""Runs a user's command with application processes: testgrove stays its parent until all of them have ended."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import FrameType
from typing import Any, Self

from testgrove.app.processes import AppProcess, ProcessContext, Processes
from testgrove.app.project import Project
from testgrove.app.worktrees import records
from testgrove.app.worktrees.files import let_go
from testgrove.app.worktrees.ports import exchange_taken
from testgrove.app.worktrees.user_commands import command_environ
from testgrove.core.model import Worktree, WorktreeStatus
from testgrove.core.text import printable
from testgrove.errors import PreconditionError, UsageError
from testgrove.system.processes.supervision import Job
from testgrove.system.processes.supervisor_pool import SupervisorPool

_NOT_EXECUTED = {"command-not-found": 127, "interpreter-missing": 127, "command-not-executable": 126}
_OF_TERMINALS = (signal.SIGINT, signal.SIGQUIT)
_FORWARDED = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


def run_with_processes(
    project: Project, worktree: Worktree, names: Sequence[str], command: Sequence[str], *, say: Callable[[str], None]
) -> int:
    """Start processes, run the command in the foreground, stop them; return the command's exit status.

    The worktree is held in the meantime: two commands would start the same servers on the same ports. say: shows
    progress. Raises UsageError (``unknown-process``) and the errors of Processes.running().
    """
    project = project.around(records.named(project, str(worktree.id)).directory)
    _check(project, names)
    with project.holding(f"testgrove exec {worktree.id}") as holder:
        held = records.take(project, holder, records.named(project, str(worktree.id)), WorktreeStatus.READY)
        try:
            if exchanged := exchange_taken(project, held):
                worktree = exchanged
                records.publish(project, holder)
                now = " ".join(map(str, worktree.ports.values()))
                say(f"another process listens on a port of {worktree.id}; its new ports: {now}")
            context = ProcessContext(
                tree=project.folder_in(worktree.path, ""),
                environ=command_environ(worktree),
                ports=worktree.ports,
                logs=project.artifacts / str(worktree.id) / "processes",
            )
            processes = Processes(holder.supervisors, project.settings.processes, context, on_wait=say)
            with processes.running(names):
                for process in processes.all:
                    say(_introduce(process))
                environ = {**context.environ, "TESTGROVE_PROCESSES": ",".join(names)}
                status = run_in_foreground(holder.supervisors, Job(command, held.path / held.directory, environ))
                for sentence in processes.ended():
                    say(f"note: {sentence} while the command ran")
        finally:
            let_go(project.store, held)
    return status


def run_in_foreground(supervisors: SupervisorPool, job: Job) -> int:
    """Run a job in the foreground and return its status: 128 plus the number for a signal, else as env(1)."""
    with supervisors.foreground() as supervisor, SignalForwarder() as forwarder:
        try:
            forwarder.to(supervisor.start_job(job))
        except PreconditionError as error:
            if error.code not in _NOT_EXECUTED:
                raise
            sys.stderr.write(f"testgrove exec: {printable(error.message)}\n")
            return _NOT_EXECUTED[error.code]
        result = supervisor.wait()
        forwarder.to(0)
    assert result is not None
    return result.exit_code if result.exit_code is not None else 128 + (result.signal or signal.SIGKILL)


class SignalForwarder:
    """Forward signals to a child in the block, as soon as it exists. A terminal gives its own to the whole group
    itself."""

    def __init__(self) -> None:
        self._pid = 0
        self._early: list[int] = []
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._forward) for number in (*_OF_TERMINALS, *_FORWARDED)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, old in self._before.items():
            signal.signal(number, old)

    def to(self, pid: int) -> None:
        """Pass signals on to this process, including earlier ones; 0: stop forwarding."""
        self._pid = pid
        while pid and self._early:
            self._send(self._early.pop(0))

    def _forward(self, number: int, _frame: FrameType | None) -> None:
        if number in _OF_TERMINALS and _in_terminals_foreground():
            return
        if self._pid:
            self._send(number)
        else:
            self._early.append(number)

    def _send(self, number: int) -> None:
        with suppress(ProcessLookupError):
            os.kill(self._pid, number)


def _in_terminals_foreground() -> bool:
    try:
        fd = os.open("/dev/tty", os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(fd) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(fd)


def _check(project: Project, names: Sequence[str]) -> None:
    there = project.settings.processes
    for name in names:
        if name not in there:
            known = ", ".join(there) or "none (configure them in [tool.testgrove.processes])"
            raise UsageError("unknown-process", f"process '{name}' not found", hint=f"available: {known}")
    if len(set(names)) != len(names):
        raise UsageError("unknown-process", f"--processes {','.join(names)} contains a duplicate")


def _introduce(process: AppProcess) -> str:
    return f"process {process.name} ready after {process.ready_after or 0.0:.1f} s (log: {process.log})"
