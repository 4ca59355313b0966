"""A shell on a database that was kept of a failed test: on a copy, which goes with the shell."""

from __future__ import annotations

import os
from pathlib import Path

from testgrove.app.context import own_folder
from testgrove.app.exec_with_processes import run_in_foreground
from testgrove.app.failures.tests import FailedDatabase, service_of_engine
from testgrove.app.project import Project
from testgrove.app.providers.empty_databases import empty_databases
from testgrove.core.engines.registry import engine_of, implementation_of
from testgrove.core.settings.types import Service
from testgrove.errors import PreconditionError
from testgrove.system.processes.supervision import Job


def open_shell(project: Project, database: FailedDatabase) -> int:
    """Open the client program on a copy of what was kept; its exit status.

    Raises PreconditionError where the program, or a server to read a dump on, is missing.
    """
    engine, implementation = engine_of(database.engine), implementation_of(database.engine)
    implementation.shell("", None)  # is there a client at all
    found = service_of_engine(project, engine.name)
    if found is None and engine.isolation == "file":
        found = engine.name, Service(engine=engine.name)
    if found is None:
        raise PreconditionError(
            f"no-{engine.name}",
            f"{database.name} is a dump of {engine.title}, which the settings do not declare any more",
            hint=f"it can be read anywhere: {database.file}",
        )
    what = f"testgrove db shell {database.name}"
    with project.holding(what) as holder, own_folder(project, holder, "shell") as context:
        empty = empty_databases(context, *found)
        try:
            access = empty.make()
            implementation.load(database.file, access, context.launcher)
            argv = implementation.shell(access.url(redacted=True), found[1])
            env = dict(os.environ) | implementation.client_environ(access)  # PAGER, PSQL_EDITOR and such are the user's
            return run_in_foreground(context.holder.supervisors, Job(argv, Path.cwd(), env))
        finally:
            empty.close()
