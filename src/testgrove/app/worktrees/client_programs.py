"""psql and its like inside a worktree, where the machine has none on PATH."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from testgrove.errors import PreconditionError
from testgrove.services.binaries import find_postgres
from testgrove.system.processes.process import scrubbed

PROGRAMS = ("psql", "pg_dump", "pg_restore", "createdb", "dropdb", "pg_isready")


def link_client_programs(tree: Path) -> None:
    """Put PostgreSQL's client programs, of the server's own binaries, beside the environment's Python."""
    place = tree / ".venv" / "bin"
    if shutil.which("psql", path=scrubbed().get("PATH")) or not place.is_dir():
        return
    try:
        binaries = find_postgres().bindir
    except PreconditionError:
        return  # the server is somewhere else
    for name in PROGRAMS:
        program, link = binaries / name, place / name
        if program.exists() and not os.path.lexists(link):
            link.symlink_to(program)
