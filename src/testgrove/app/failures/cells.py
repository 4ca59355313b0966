"""`--keep-failed`: what is left of a cell that has failed. Its databases go with the run's servers; PostgreSQL's is
dumped before."""

from __future__ import annotations

import shutil
from pathlib import Path

from testgrove.app.project import Project
from testgrove.app.worktrees.workspace import Workspace
from testgrove.core.runs.events import Status
from testgrove.errors import TestgroveError
from testgrove.services.binaries import find_postgres
from testgrove.system.processes.supervisor_pool import supervised_run

DUMP = "database.sql"
_TIMEOUT = 600.0  # seconds for a dump


def note_of(cell: str, status: Status, run: str, dumped: str) -> str:
    """What `list` says of a worktree that was kept."""
    return f"kept: {cell} {status} in run {run}" + (f"; {dumped}" if dumped else "")


def dump_database(creation: Workspace, folder: Path) -> str:
    """Dump a cell's PostgreSQL database into its folder of the run; what came of it, or nothing where it has none."""
    if "postgres" not in creation.databases:
        return ""
    target = folder / DUMP
    try:
        argv = [dump_program(creation.project), "--no-password", "--no-owner", "--file", str(target)]
        supervised_run(creation.holder.supervisors, argv, cwd=creation.tree, env=creation.environ(), timeout=_TIMEOUT)
    except TestgroveError as error:
        target.unlink(missing_ok=True)
        return f"its database could not be dumped: {error.message.splitlines()[0]}"
    return f"its database is in {target}"


def dump_program(project: Project) -> str:
    """The server's own pg_dump, for an older one refuses a newer server; else the one on PATH."""
    service = project.settings.services.postgres
    if service is not None and service.host == "embedded":
        program = find_postgres(service.version, service.extensions).bindir / "pg_dump"
        if program.exists():
            return str(program)
    return shutil.which("pg_dump") or "pg_dump"
