"""Runs a command with an end: a time, and an environment that points nowhere else."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

LIMIT = 300  # seconds for one command
_FOREIGN = ("GIT_", "PG", "UV_PYTHON", "TESTGROVE_", "VIRTUAL_ENV", "PYTHON", "PYTEST", "DATABASE_URL", "REDIS", "CI")
IDENTITY = (
    "-c",
    "user.name=real-projects",
    "-c",
    "user.email=real-projects@example.invalid",
    "-c",
    "commit.gpgsign=false",
)


@dataclass(frozen=True)
class Done:
    """status: the exit status, None after the time limit. seconds, cpu: how long it took. output: both streams."""

    status: int | None
    seconds: float
    cpu: float
    output: str


def clean_environment(**more: str) -> dict[str, str]:
    """Ours, without what would lead a project's tests elsewhere."""
    return {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)} | more


def run(argv: Sequence[str] | str, where: Path, environment: Mapping[str, str], *, limit: float = LIMIT) -> Done:
    """Run a command (a string: by the shell), end its process group at the limit, and return what it said.

    CPU is that of the command and of all descendants that were waited for: not of a server that outlives it.
    """
    started, cpu = time.monotonic(), _cpu_of_children()
    process = subprocess.Popen(
        argv,
        cwd=where,
        env=dict(environment),
        shell=isinstance(argv, str),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=limit)
        status: int | None = process.returncode
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            output, _ = process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            output, _ = process.communicate()
        status = None
    return Done(status, time.monotonic() - started, _cpu_of_children() - cpu, output)


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def must(argv: Sequence[str] | str, where: Path, environment: Mapping[str, str], *, limit: float = LIMIT) -> Done:
    """The same, for what has to work. Raises RuntimeError with the end of the output."""
    done = run(argv, where, environment, limit=limit)
    if done.status != 0:
        end = "\n".join(done.output.splitlines()[-15:])
        what = "took too long" if done.status is None else f"exit status {done.status}"
        raise RuntimeError(f"{argv if isinstance(argv, str) else ' '.join(argv)}: {what}\n{end}")
    return done
