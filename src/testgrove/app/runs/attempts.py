"""One attempt: a suite's command in a worktree, under a supervisor, and how it ended."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from testgrove.app.connections.watch import AttemptConnections
from testgrove.app.processes import GRACE, AppProcess, ProcessContext, Processes
from testgrove.app.runs.hangs import Hang
from testgrove.app.runs.junit_input import read_junit
from testgrove.app.runs.leaks import AttemptContext
from testgrove.app.runs.permitted_connections import permitted_in_attempt
from testgrove.app.runs.plugin_log import SessionLog
from testgrove.app.runs.run_context import RunContext
from testgrove.app.runs.start_gate import StartPermit
from testgrove.app.worktrees import nested_root
from testgrove.app.worktrees.creation import Creation
from testgrove.app.worktrees.ownership import left_in_checkout
from testgrove.app.worktrees.preflight import foreign_checkouts
from testgrove.app.worktrees.workspace import Workspace
from testgrove.core.commands import shell_or_exec
from testgrove.core.environments.install_commands import note_on_pytest
from testgrove.core.folders import joined
from testgrove.core.runs.cause import cause_of, start_failure
from testgrove.core.runs.events import (
    AttemptFinished,
    AttemptStarted,
    CellPhase,
    Phase,
    ProcessFinished,
    ProcessStarted,
    Status,
)
from testgrove.core.runs.leaks import TrackedResource
from testgrove.core.runs.outcome import (
    Ending,
    SessionFacts,
    is_pytest,
    judge,
    judge_connections,
    judge_junit,
    judge_processes,
    judge_unittest,
)
from testgrove.core.runs.plan import Cell
from testgrove.errors import PreconditionError
from testgrove.system.files import explained, tail
from testgrove.system.plugin import injected_environment
from testgrove.system.processes.supervision import Job, JobResult, Supervisor

_LOOK = 0.1  # seconds between two looks at what an attempt has done
_LOOK_AT_START = 0.02
_READ = 40_000  # bytes of output in which a cause is looked for


@dataclass
class Attempt:
    """One try at a cell. number: from 1. slot_number: the number of the slot it runs in, from 1."""

    run: RunContext
    cell: Cell
    workspace: Workspace
    supervisor: Supervisor
    number: int
    slot_number: int = 0
    output: Path = field(init=False)
    connections: AttemptConnections = field(init=False)

    def work(self) -> tuple[Status, str]:
        """Run the command to its end; the status and its reason. Raises PreconditionError where it cannot start."""
        name = self.cell.folder or str(self.workspace.spec.id)
        folder = self.run.folder / name
        self.output = folder / ("output.log" if self.number == 1 else f"output-{self.number}.log")
        session, temporary = (self.run.scratch / f"{name}-{self.number}{kind}" for kind in ("", "t"))
        with explained("create the attempt's folders in", folder):
            folder.mkdir(parents=True, exist_ok=True)
            session.mkdir()
            temporary.mkdir()
        workspace = self.workspace
        log = SessionLog(
            session, workspace.tree, self.cell.key, self.number, environment=workspace.environment_elsewhere
        )
        environ = self._environ(session, temporary)
        context = self._leak_context(temporary, environ)
        processes = self._make_processes(temporary)
        self.connections = self._make_connections(temporary, environ, processes)
        with (
            self.run.leaks.watching(context) as watched,
            self.run.connections.watching(self.connections),
            self._running(processes),
        ):
            start = self.run.gate.enter(self.run.cancel)
            try:
                self._start(environ)
                hang = Hang(log, session, self.cell.settings.timeout, self.connections.roots)
                result = self._follow(log, hang, start)
            finally:
                start.over()
            ended = processes.ended()
        if result.timed_out:
            hang.write(self.output.with_name(self.output.name.replace("output", "stacks", 1)), workspace.tree)
        status, reason = judge_processes(ended, *self._judge(result, log))
        if not self.run.cancel.is_set():
            status, reason = judge_connections(self.connections.foreign, status, reason)
        if self.connections.foreign:  # a further attempt would connect to the foreign server again
            self.run.given_up.add(self.cell.key)
        for event in hang.tests(reason) if status == "error" and not log.facts.finished else ():
            self.run.emit(event)
        self._finish(result, status, reason)
        workspace.notes += self.run.leaks.report(watched, result, self.connections.without_own(log.leftovers))
        self._advise(status, result, log.facts)
        return status, reason

    def _advise(self, status: Status, result: JobResult, facts: SessionFacts) -> None:
        """Tell what helps after a failure, and that pytest is too old in an environment that testgrove did not make."""
        workspace = self.workspace
        workspace.hint = ""
        if workspace.environment_elsewhere is not None:
            from testgrove.app.runs.advice import install_in_place  # noqa: PLC0415 - for --here

            workspace.notes += note_on_pytest(facts.pytest, install_in_place(workspace, "'pytest>=7.4'"))
        if status in ("failed", "error"):
            from testgrove.app.runs.advice import Failure, advice  # noqa: PLC0415 - after a failure only

            read = tail(self.output, _READ)
            told = advice(Failure(workspace.project, workspace, self.cell, read, facts, result.timed_out))
            workspace.notes += filter(None, [told.note])
            workspace.hint = told.hint

    def _leak_context(self, temporary: Path, environ: dict[str, str]) -> AttemptContext:
        run, workspace = self.run, self.workspace
        # In the user's own checkout (--here), the user may be working.
        watched = isinstance(workspace, Creation) or self.cell.scenario is not None
        junit = self.cell.settings.junit and joined(workspace.spec.directory, self.cell.settings.junit)
        expected = [*workspace.project.from_top(workspace.project.settings.collect), *filter(None, [junit])]
        return AttemptContext(
            cell=self.cell.key,
            attempt=self.number,
            tree=workspace.tree,
            temporary=temporary,
            ports=tuple(workspace.ports.values()),
            checkout=partial(left_in_checkout, workspace.tree, expected) if watched else None,
            manifest=workspace.manifest,
            databases=lambda: [TrackedResource("database", name) for name in run.databases.further(self.cell)],
            environ=environ,
            mark=self.supervisor.mark,
        )

    def _make_connections(self, temporary: Path, environ: dict[str, str], processes: Processes) -> AttemptConnections:
        workspace = self.workspace
        return AttemptConnections(
            permitted_in_attempt(workspace, self.cell, environ, temporary),
            workspace.set_variables(),
            environ,
            workspace.tree,
            roots=lambda: [self.supervisor.pid, *(process.supervisor.pid for process in list(processes.all))],
        )

    def _make_processes(self, temporary: Path) -> Processes:
        run = self.run
        context = ProcessContext(
            tree=self.workspace.home,
            environ=self.workspace.environ() | {"TMPDIR": str(temporary)},
            ports=dict(self.workspace.ports),
            logs=self.output.with_name("processes" if self.number == 1 else f"processes-{self.number}"),
        )
        return Processes(
            run.holder.supervisors,
            self.workspace.project.settings.processes,
            context,
            on_start=self._process_started,
            on_wait=partial(self._phase, "processes"),
            cancel=run.cancel,
        )

    @contextmanager
    def _running(self, processes: Processes) -> Iterator[None]:
        """The suite's processes are ready in the block, and gone after it; their logs stay."""
        names = self.cell.settings.processes
        try:
            with processes.running(names):
                if names:
                    self._phase("running")
                yield
        finally:
            for process in processes.all:
                self._process_finished(process)

    def _phase(self, phase: Phase, reason: str = "") -> None:
        self.run.emit(CellPhase(t=time.time(), cell=self.cell.key, phase=phase, reason=reason, slot=self.slot_number))

    def _process_started(self, process: AppProcess) -> None:
        self.run.emit(
            ProcessStarted(
                t=process.started,
                cell=self.cell.key,
                attempt=self.number,
                process=process.name,
                command=process.settings.command,
                log=str(process.log.relative_to(self.run.folder)),
            )
        )

    def _process_finished(self, process: AppProcess) -> None:
        self.run.emit(
            ProcessFinished(
                t=time.time(),
                cell=self.cell.key,
                attempt=self.number,
                process=process.name,
                ready=process.ready_after,
                reason=process.ending(),
                tail=process.tail(),
            )
        )

    def _start(self, environ: dict[str, str]) -> None:
        settings, workspace = self.cell.settings, self.workspace
        self.run.emit(
            AttemptStarted(
                t=time.time(),
                cell=self.cell.key,
                attempt=self.number,
                command=settings.command,
                worktree=str(workspace.spec.id),
                python=workspace.python,
                log=str(self.output.relative_to(self.run.folder)),
                commit=workspace.target.commit,
                slot=self.slot_number,
            )
        )
        argv = shell_or_exec(settings.command)
        self.supervisor.start_job(Job(argv, workspace.directory, environ, self.output, settings.timeout, GRACE))

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
                tail=tail(self.output) if status not in ("passed", "skipped") else "",
            )
        )

    def _judge(self, result: JobResult, log: SessionLog) -> tuple[Status, str]:
        settings = self.cell.settings
        ending = Ending(
            result.exit_code, result.signal, result.timed_out, result.cancelled, result.lost, settings.timeout or 0.0
        )
        command, pytest = settings.command, is_pytest(settings.command)
        output = tail(self.output, _READ).replace(f"{self.workspace.tree}/", "")
        cause = start_failure(output) if pytest and not log.facts.claimed else cause_of(output)
        status, reason = judge(ending, log.facts, pytest=pytest, chosen=self.run.chosen, cause=cause)
        if not log.facts.claimed:
            status, reason = judge_unittest(command, output, status, reason)
        if settings.junit and not log.facts.claimed and status != "cancelled":
            return self._judge_junit(self.workspace.directory / settings.junit, status, reason)
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
        environ = self.workspace.suite_environ()
        environ["TESTGROVE_PORTS"] = ",".join(self.workspace.ports)
        environ["TESTGROVE_PROCESSES"] = ",".join(self.cell.settings.processes)
        environ["TMPDIR"] = str(temporary)
        if self.run.seed is not None:
            environ["TESTGROVE_RANDOM_SEED"] = str(self.run.seed)
        if self.run.keep_failed:
            environ["TESTGROVE_KEEP_FAILED"] = "1"
        environ |= self.run.databases.environ(self.cell)
        tree = self.workspace.tree
        if options := nested_root.pytest_options(self.run.project, tree, self.workspace.spec.directory):
            environ["PYTEST_ADDOPTS"] = f"{options} {environ.get('PYTEST_ADDOPTS', '')}".strip()
        if self.run.coverage:
            environ = self.run.coverage.environ(self.workspace, environ, session.name)
        return injected_environment(environ, self.run.plugin, session, tree, foreign_checkouts(self.run.project, tree))

    def _follow(self, log: SessionLog, hang: Hang, start: StartPermit) -> JobResult:
        told = False
        while (result := self.supervisor.wait(_LOOK_AT_START if start.going_on else _LOOK)) is None:
            self._read(log)
            hang.look()
            start.look(running=log.facts.selected > 0)
            if (self.run.cancel.is_set() or self.connections.foreign) and not told:
                self.supervisor.end(GRACE)
                told = True
        self._read(log)
        return result

    def _read(self, log: SessionLog) -> None:
        for event in (*log.read(), *log.slow()):
            self.run.emit(event)
        while log.connections:
            self.connections.take(log.connections.pop(0))
