"""One attempt: a suite's command in a worktree, under a supervisor, and how it ended."""

from __future__ import annotations

import shlex
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from threading import Event as Flag

from testgrove.app.creation import Creation, Target, foreign_checkouts
from testgrove.app.holder import Holder
from testgrove.app.junit_input import read_junit
from testgrove.app.project import Project
from testgrove.app.run_databases import RunDatabases
from testgrove.app.session_log import SessionLog
from testgrove.core.events import AnyEvent, AttemptFinished, AttemptStarted, Status
from testgrove.core.outcome import Ending, is_pytest, judge, judge_junit
from testgrove.core.plan import Cell
from testgrove.errors import PreconditionError
from testgrove.system.plugin import injected_environment
from testgrove.system.supervision import Job, JobResult, Supervisor

GRACE = 5.0
_TAIL_BYTES = 4000


@dataclass(frozen=True)
class Run:
    """What all slots of a run share. targets: what each ref means, by the ref as the user wrote it."""

    project: Project
    holder: Holder
    id: str
    folder: Path
    scratch: Path
    plugin: Path
    inbox: SimpleQueue[AnyEvent]
    cancel: Flag
    databases: RunDatabases
    targets: dict[str, Target]

    def emit(self, event: AnyEvent) -> None:
        """Put an event on the run's queue."""
        self.inbox.put(event)


@dataclass
class Attempt:
    """One try at a cell. number: from 1."""

    run: Run
    cell: Cell
    creation: Creation
    supervisor: Supervisor
    number: int
    output: Path = field(init=False)

    def work(self) -> tuple[Status, str]:
        """Run the command to its end; the status and its reason. Raises PreconditionError where it cannot start."""
        worktree = self.creation.row["id"]
        folder = self.run.folder / worktree
        folder.mkdir(parents=True, exist_ok=True)
        self.output = folder / ("output.log" if self.number == 1 else f"output-{self.number}.log")
        session, temporary = (self.run.scratch / f"{worktree}-{self.number}{kind}" for kind in ("", "t"))
        session.mkdir()
        temporary.mkdir()
        log = SessionLog(session, self.creation.tree, self.cell.key, self.number)
        self._start(self._environ(session, temporary))
        result = self._follow(log)
        status, reason = self._judge(result, log)
        self._finish(result, status, reason)
        return status, reason

    def _start(self, environ: dict[str, str]) -> None:
        settings, creation = self.cell.settings, self.creation
        self.run.emit(
            AttemptStarted(
                t=time.time(),
                cell=self.cell.key,
                attempt=self.number,
                command=settings.command,
                worktree=creation.row["id"],
                python=creation.row["python"],
                log=str(self.output.relative_to(self.run.folder)),
                commit=creation.target.commit,
            )
        )
        argv = shell_or_exec(settings.command)
        self.supervisor.start_job(Job(argv, creation.tree, environ, self.output, settings.timeout, GRACE))

    def _finish(self, result: JobResult, status: Status, reason: str) -> None:
        self.run.emit(
            AttemptFinished(
                t=time.time(),
                cell=self.cell.key,
                attempt=self.number,
                status=status,
                reason=reason,
                exit_code=result.exit_code,
                duration=result.duration,
                cpu=result.user_cpu + result.system_cpu,
                survivors=result.survivors,
                tail=_tail(self.output) if status not in ("passed", "skipped") else "",
            )
        )

    def _judge(self, result: JobResult, log: SessionLog) -> tuple[Status, str]:
        settings = self.cell.settings
        ending = Ending(
            result.exit_code, result.signal, result.timed_out, result.cancelled, result.lost, settings.timeout or 0.0
        )
        status, reason = judge(ending, log.facts, pytest=is_pytest(settings.command))
        if settings.junit and not log.facts.claimed and status != "cancelled":
            return self._judge_junit(self.creation.tree / settings.junit, status, reason)
        return status, reason

    def _judge_junit(self, path: Path, status: Status, reason: str) -> tuple[Status, str]:
        try:
            events = list(read_junit(path, self.cell.key, self.number))
        except PreconditionError as error:
            return ("error", error.message) if status == "passed" else (status, reason)
        for event in events:
            self.run.emit(event)
        return judge_junit(Counter(event.outcome for event in events), status, reason)

    def _environ(self, session: Path, temporary: Path) -> dict[str, str]:
        environ = self.creation.suite_environ()
        environ["TESTGROVE_PORTS"] = ",".join(self.creation.row["ports"])
        environ["TMPDIR"] = str(temporary)
        tree = self.creation.tree
        return injected_environment(environ, self.run.plugin, session, tree, foreign_checkouts(self.run.project, tree))

    def _follow(self, log: SessionLog) -> JobResult:
        told = False
        while (result := self.supervisor.wait(0.1)) is None:
            for event in log.read():
                self.run.emit(event)
            if self.run.cancel.is_set() and not told:
                self.supervisor.end(GRACE)
                told = True
        for event in log.read():
            self.run.emit(event)
        return result


def shell_or_exec(command: str) -> list[str]:
    """A suite's command as an argument list; by the shell only where it uses the shell."""
    if any(character in command for character in "|&;<>()$`*?[]#~\n") or "=" in command.split(maxsplit=1)[0]:
        return ["/bin/sh", "-c", command]
    try:
        return shlex.split(command)
    except ValueError as error:
        raise PreconditionError("command-unreadable", f"{command!r} cannot be split into words: {error}") from error


def _tail(path: Path) -> str:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""
