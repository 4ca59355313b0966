"""A shell on a database that was kept of a failed test: on a copy, which goes with the shell."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from testgrove.app.databases.commands import client_program
from testgrove.app.databases.engines import RunMeans
from testgrove.app.exec_with_processes import run_in_foreground
from testgrove.app.failures.tests import FailedDatabase, reaching
from testgrove.app.project import Project
from testgrove.app.providers.empty_databases import blanks_of, own_folder
from testgrove.core.model import DatabaseAccess
from testgrove.core.settings.types import Service
from testgrove.errors import PreconditionError
from testgrove.system.processes.supervision import Job

_TIMEOUT = 600.0  # seconds for reading a dump


def open_shell(project: Project, database: FailedDatabase) -> int:
    """Open the client program on a copy of what was kept; its exit status.

    Raises PreconditionError where the program, or a server to read a dump on, is missing.
    """
    program, service = client_program(database.engine), project.settings.services.postgres
    if database.engine == "postgres" and service is None:
        raise PreconditionError(
            "no-postgres",
            f"{database.name} is a dump of PostgreSQL, which the settings do not declare any more",
            hint=f"it can be read anywhere: psql --file {database.file}",
        )
    what = f"testgrove db shell {database.name}"
    with project.holding(what) as holder, own_folder(project, holder, "shell") as means:
        if database.engine == "postgres":
            assert service is not None
            return _psql(program, means, service, database)
        copy = means.folder / database.file.name
        shutil.copyfile(database.file, copy)
        return _in_front(means, [program, str(copy)], {})


def _psql(program: str, means: RunMeans, service: Service, database: FailedDatabase) -> int:
    blanks = blanks_of(means, service)
    try:
        access = blanks.make()
        _read(program, means, access, database.file)
        return _in_front(means, [program, access.url(redacted=True)], reaching(access))
    finally:
        blanks.close()


def _read(program: str, means: RunMeans, access: DatabaseAccess, dump: Path) -> None:
    quiet = ("--quiet", "--no-psqlrc", "--output=/dev/null")
    argv = [program, *quiet, "--set=ON_ERROR_STOP=1", "--file", str(dump), access.url(redacted=True)]
    means.launcher.run(argv, cwd=means.folder, env=reaching(access), timeout=_TIMEOUT)


def _in_front(means: RunMeans, argv: list[str], reaching: dict[str, str]) -> int:
    """PAGER, PSQL_EDITOR and such are the user's."""
    ours = {name: value for name, value in reaching.items() if name.startswith("PG")}
    return run_in_foreground(means.holder.supervisors, Job(argv, Path.cwd(), dict(os.environ) | ours))
