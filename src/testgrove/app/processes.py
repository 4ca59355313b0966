"""Application processes: started one after the other, each ready before the next; stopped together, as trees.

A process is ready when *it* answers: every listener on its configured ports must descend from its own supervisor.
Another server on such a port is found and named before anything is started.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from testgrove.core.commands import with_references
from testgrove.core.frozen import frozen
from testgrove.core.naming import port_variable
from testgrove.core.readiness import CommandReady, HttpReady, LogReady, Ready, TcpReady, parse_ready
from testgrove.core.settings.parse import expand_env
from testgrove.core.settings.references import references
from testgrove.core.settings.types import Process
from testgrove.errors import PreconditionError, TestgroveError, UnavailableError
from testgrove.system.files import explained, tail
from testgrove.system.listeners import Listener, listeners
from testgrove.system.probes import why_no_answer, why_no_connection
from testgrove.system.processes.marks import lives
from testgrove.system.processes.supervision import Job, JobResult, Supervisor
from testgrove.system.processes.supervisor_pool import SupervisorPool, supervised_run

GRACE = 5.0  # seconds between TERM and KILL
_FOR_EVER = 30 * 86400.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.01, 0.1  # seconds between two looks
_PROBE = 5.0  # seconds that one question may take
_TAIL_LINES = 15


@frozen
class ProcessContext:
    """The surroundings of processes. tree: the folder of their `directory`. environ: what each of them sees, before its
    own `env`; ports: the worktree's; logs: the folder of their output."""

    tree: Path
    environ: Mapping[str, str]
    ports: Mapping[str, int]
    logs: Path


@dataclass
class AppProcess:
    """A process that was started. ready_after: seconds, None until it is ready; result: how it ended."""

    name: str
    settings: Process
    environ: Mapping[str, str]
    ready: Ready
    ports: frozenset[int]
    log: Path
    supervisor: Supervisor
    started: float
    pid: int = 0
    ready_after: float | None = None
    result: JobResult | None = None

    def poll(self, timeout: float | None = 0.0) -> JobResult | None:
        """Return how it ended, None while it lives. timeout: seconds to wait for its end."""
        if self.result is None:
            self.result = self.supervisor.wait(timeout)
        return self.result

    def settled(self) -> JobResult | None:
        """Like poll(), but returns the end of a process before its supervisor has reported it."""
        return self.poll() if lives(self.pid) else self.poll(GRACE)

    def tail(self) -> str:
        """The last lines of its output."""
        return "\n".join(tail(self.log).splitlines()[-_TAIL_LINES:]) or "(it wrote nothing)"

    def ending(self) -> str:
        """Return how it ended, in words; empty while it lives, and where it was ended by us."""
        result = self.result
        if result is None or result.cancelled:
            return ""
        if result.lost:
            return f"process {self.name} was killed with its supervisor"
        if result.signal is not None:
            return f"process {self.name} was killed by signal {result.signal}"
        return f"process {self.name} exited with status {result.exit_code}"


class Processes:
    """The processes of one attempt, or of one user command.

    on_start: called for each before it starts. on_wait: called with what it waits for. cancel: stops waiting when set.
    """

    def __init__(
        self,
        supervisors: SupervisorPool,
        declared: Mapping[str, Process],
        context: ProcessContext,
        *,
        on_start: Callable[[AppProcess], None] = lambda _: None,
        on_wait: Callable[[str], None] = lambda _: None,
        cancel: Event | None = None,
    ) -> None:
        self.all: list[AppProcess] = []
        self._supervisors, self._declared, self._context = supervisors, declared, context
        self._on_start, self._on_wait = on_start, on_wait
        self._cancel = cancel or Event()

    @contextmanager
    def running(self, names: Sequence[str]) -> Iterator[None]:
        """Start them in this order; in the block all are ready; afterwards nothing is left of them.

        Raises PreconditionError (``port-taken``, ``command-not-found``, …), UnavailableError (``process-died``,
        ``process-not-ready``), UsageError for a reference to what the worktree does not have.
        """
        with ExitStack() as supervisors:
            try:
                for name in names:
                    process = self._prepare(name, supervisors)
                    self._start(process)
                    self._await(process)
                yield
            finally:
                self._stop()

    def ended(self) -> list[str]:
        """Sentences about those that have ended by themselves, also in this moment."""
        return [process.ending() for process in self.all if process.settled() and process.ending()]

    def _prepare(self, name: str, supervisors: ExitStack) -> AppProcess:
        settings, context = self._declared[name], self._context
        base = dict(context.environ)
        environ = base | expand_env(settings.env, base, source=f"'processes.{name}.env")
        text, key = settings.ready, f"processes.{name}.ready"
        if text.startswith(("http:", "tcp:")):
            text = expand_env({"ready": text}, environ, source=f"'processes.{name}")["ready"]
        try:
            ready = parse_ready(text)
        except ValueError as error:
            raise PreconditionError("process-ready-invalid", f"'{key}': {error}") from error
        return AppProcess(
            name=name,
            settings=settings,
            environ=environ,
            ready=ready,
            ports=_ports(settings, ready, context.ports),
            log=context.logs / f"{name}.log",
            supervisor=supervisors.enter_context(self._supervisors.borrow()),
            started=time.time(),
        )

    def _start(self, process: AppProcess) -> None:
        argv = with_references(process.settings.command, process.environ, key=f"processes.{process.name}.command")
        self._refuse_foreign_listeners(process)
        with explained("write the log", process.log):
            process.log.parent.mkdir(parents=True, exist_ok=True)
            process.log.unlink(missing_ok=True)  # an older one would look ready
        job = Job(argv, self._folder(process), process.environ, process.log, _FOR_EVER, GRACE)
        process.pid = process.supervisor.start_job(job)
        self.all.append(process)
        self._on_start(process)

    def _refuse_foreign_listeners(self, process: AppProcess) -> None:
        ours = [other.supervisor.pid for other in (*self.all, process)]
        for port in sorted(process.ports):
            for listener in listeners(port):
                if not any(listener.descends_from(pid) for pid in ours):
                    raise _port_taken(process.name, listener)

    def _await(self, process: AppProcess) -> None:
        settings, pause, told = process.settings, _FIRST_PAUSE, ""
        deadline = time.monotonic() + settings.timeout
        while process.poll(pause) is None:
            self._refuse_foreign_listeners(process)
            left = deadline - time.monotonic()
            reason = self._why_not(process, min(max(left, 0.1), _PROBE))
            if not reason:
                process.ready_after = time.time() - process.started
                return
            if left <= 0:
                raise _not_ready(process, reason)
            if self._cancel.is_set():
                raise _cancelled()
            if reason != told:
                self._on_wait(f"{process.name}: {reason}")
                told = reason
            pause = min(pause * 1.5, _LONGEST_PAUSE)
        raise _cancelled() if process.result and process.result.cancelled else _died(process)

    def _why_not(self, process: AppProcess, timeout: float) -> str:
        """Why it is not ready; empty when it is. timeout: seconds that the question may take."""
        match process.ready:
            case HttpReady(host, port, target):
                return _not_its(process, port) or why_no_answer(host, port, target, timeout)
            case TcpReady(host, port):
                return _not_its(process, port) or why_no_connection(host, port, timeout)
            case LogReady(pattern):
                found = pattern.search(process.log.read_text(errors="replace"))
                return "" if found else f"no match for {pattern.pattern!r} in its output yet"
            case CommandReady(line):
                return self._why_no_success(process, line, timeout)

    def _folder(self, process: AppProcess) -> Path:
        return self._context.tree / process.settings.directory

    def _why_no_success(self, process: AppProcess, line: str, timeout: float) -> str:
        try:
            supervised_run(
                self._supervisors,
                ["/bin/sh", "-c", line],
                cwd=self._folder(process),
                env=process.environ,
                timeout=timeout,
                cancel=self._cancel,
            )
        except UnavailableError as error:
            return error.message
        return ""

    def _stop(self) -> None:
        living = [process for process in self.all if process.poll() is None]
        for process in reversed(living):
            process.supervisor.end(GRACE)
        for process in living:
            process.poll(None)


def _ports(settings: Process, ready: Ready, leased: Mapping[str, int]) -> frozenset[int]:
    """The ports that its settings name."""
    named = references(" ".join((settings.command, settings.ready, *settings.env.values())))
    ports = {port for name, port in leased.items() if port_variable(name) in named}
    return frozenset(ports | ({ready.port} if isinstance(ready, HttpReady | TcpReady) else set()))


def _not_its(process: AppProcess, port: int) -> str:
    """Why an answer at this port would not be the process's; empty when it would."""
    found = listeners(port)
    if not found:
        return f"nothing listens on port {port} yet"
    others = [each for each in found if not each.descends_from(process.supervisor.pid)]
    return f"port {port} is in use by another process: {others[0]}" if others else ""


def _port_taken(name: str, listener: Listener) -> TestgroveError:
    return PreconditionError(
        "port-taken",
        f"process {name} cannot use port {listener.port}: {listener} listens on it",
        hint=listener.ending,
        port=listener.port,
        pid=listener.pid,
    )


def _cancelled() -> TestgroveError:
    return PreconditionError("cancelled", "the run was interrupted")


def _died(process: AppProcess) -> TestgroveError:
    message = f"{process.ending()} while it started:\n{process.tail()}"
    hint = f"less {process.log}"
    if process.result and process.result.survivors:
        message = f"process {process.name} went into the background; testgrove cannot watch it there"
        hint = "add the option that keeps it in the foreground"
    return UnavailableError("process-died", message, hint=hint, log=str(process.log))


def _not_ready(process: AppProcess, reason: str) -> TestgroveError:
    timeout = process.settings.timeout
    return UnavailableError(
        "process-not-ready",
        f"process {process.name} was not ready within {timeout:g} s: {reason}; its output ends:\n{process.tail()}",
        hint=f"less {process.log}   or increase processes.{process.name}.timeout",
        log=str(process.log),
    )
