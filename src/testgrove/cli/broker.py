"""broker: fresh databases for one test session. The pytest plugin starts it; other languages can."""

from __future__ import annotations

import json
import os
from pathlib import Path

import click

from testgrove.cli.context import project_in
from testgrove.cli.output import SCHEMA_VERSION, common, echo, example, no_template_cache


@click.command("broker")
@click.option(
    "--session", type=click.IntRange(1, 2**22), required=True, help="Stop when this process ends.", metavar="PID"
)
@click.option(
    "--python",
    "prefix",
    type=click.Path(path_type=Path),
    help="The environment in which migrations run. Default: commands from PATH.",
    metavar="DIR",
)
@click.option(
    "--installed", default="", help="A key that changes when the packages in that environment change.", metavar="WORD"
)
@no_template_cache
@common
@example("testgrove broker --session $$")
def broker_command(
    *,
    session: int,
    prefix: Path | None,
    installed: str,
    directory: Path,
    as_json: bool,  # noqa: ARG001 - a common option; what it prints is JSON in any case
    quiet: bool,  # noqa: ARG001 - a common option
) -> None:
    """Hand out a fresh, migrated database for every test of a session.

    Prints the path of its socket as one line of JSON, then serves until the process PID ends. pytest-testgrove starts
    one itself; docs/broker.md describes the protocol for other clients.
    """
    from testgrove.app.sessions.broker import serve_session
    from testgrove.app.sessions.migration import TestEnvironment

    def on_ready(path: Path) -> None:
        echo(json.dumps({"schema_version": SCHEMA_VERSION, "socket": str(path)}))
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # a reader of stdout need not wait for the end

    project = project_in(directory)
    with project.holding("testgrove broker") as holder:
        serve_session(project, holder, session, TestEnvironment(prefix, installed), on_ready)
