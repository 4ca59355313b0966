"""`setup` and `teardown`: the project's own commands in a worktree, under a supervisor, their output kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from testgrove.app.project import Project
from testgrove.app.worktrees import records
from testgrove.app.worktrees.user_commands import environ_of
from testgrove.core.frozen import frozen
from testgrove.core.model import Lease, LeaseKind
from testgrove.core.worktrees.record import WorktreeRecord
from testgrove.errors import UnavailableError
from testgrove.system.files import explained
from testgrove.system.processes.process import ending_of
from testgrove.system.processes.supervision import Job, JobResult
from testgrove.system.processes.supervisor_pool import SupervisorPool

SETUP_TIMEOUT = 3600.0  # seconds for one command
TEARDOWN_TIMEOUT = 600.0
_LOOK = 0.1  # seconds between two looks at the output
_TAIL_LINES = 15

OnOutput = Callable[[bytes], None]


def unseen(_output: bytes) -> None:
    """An OnOutput for callers that show nothing."""


@frozen
class Hook:
    """Commands to run one after another, until one fails. what: ``setup`` or ``teardown``.

    timeout: seconds for each.
    """

    what: str
    commands: Sequence[str]
    tree: Path
    log: Path
    timeout: float

    def run(self, supervisors: SupervisorPool, environ: Mapping[str, str], on_output: OnOutput = unseen) -> None:
        """Run them. Raises UnavailableError (``setup-failed``, ``teardown-failed``) for one that does not succeed."""
        with explained("write the output to", self.log):
            self.log.parent.mkdir(parents=True, exist_ok=True)
            self.log.write_bytes(b"")
        for command in self.commands:
            self._run_one(supervisors, environ, command, on_output)

    def _run_one(
        self, supervisors: SupervisorPool, environ: Mapping[str, str], command: str, on_output: OnOutput
    ) -> None:
        with explained("write the output to", self.log), self.log.open("r+b") as log:
            log.seek(0, 2)
            log.write(f"$ {command}\n".encode())
            log.flush()
            start = log.tell()
            on_output(f"$ {command}\n".encode())
            with supervisors.borrow() as supervisor:
                job = Job(["/bin/sh", "-c", command], self.tree, environ, self.log, self.timeout)
                supervisor.start_job(job)
                while (result := supervisor.wait(_LOOK)) is None:
                    on_output(log.read())
            on_output(log.read())
            log.seek(start)
            output = log.read().decode(errors="replace")
        if problem := self._problem(result):
            raise self._failure(command, problem, output)

    def _problem(self, result: JobResult) -> str:
        if result.timed_out:
            return f"timed out after {self.timeout:g} s"
        if result.cancelled or result.lost:
            return "was ended"
        if result.exit_code != 0:
            return ending_of(result.exit_code if result.exit_code is not None else -(result.signal or 9))
        return ""

    def _failure(self, command: str, problem: str, output: str) -> UnavailableError:
        last = "\n".join(f"    {line}" for line in output.rstrip().splitlines()[-_TAIL_LINES:])
        return UnavailableError(
            f"{self.what}-failed",
            f"{self.what} failed: `{command}` {problem}" + (f":\n{last}" if last else ""),
            hint=f"full output: {self.log}",
            command=command,
            log=str(self.log),
        )


def record_teardown(project: Project, worktree: WorktreeRecord, commands: Sequence[str]) -> None:
    """Write ahead of a set-up what takes back what it does outside of the worktree; nothing where there is none."""
    leases = records.leases_of(project.store, worktree)
    data = project.lease_data() | {
        "commands": list(commands),
        "env_file": worktree.env_file,
        "folder": project.settings_folder,
        # Beside what a removal keeps: a run's folder may be gone by then.
        "log": str(project.artifacts / str(worktree.id) / "teardown.log"),
    }
    with project.store.transaction():
        leases.forget(Lease(LeaseKind.TEARDOWN, str(worktree.path)))
        if commands:
            leases.record(Lease(LeaseKind.TEARDOWN, str(worktree.path), data))


def run_teardown(supervisors: SupervisorPool, lease: Lease) -> None:
    """Run what record_teardown() recorded, in a worktree that is there. Raises UnavailableError."""
    tree = Path(lease.key)
    hook = Hook(
        "teardown",
        lease.data["commands"],
        tree / lease.data.get("folder", ""),
        Path(lease.data["log"]),
        TEARDOWN_TIMEOUT,
    )
    hook.run(supervisors, environ_of(tree, lease.data["env_file"]))
