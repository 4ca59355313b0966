"""broker: fresh databases for one test session. The pytest plugin starts it; other languages can."""

from __future__ import annotations

import json
import os
from pathlib import Path

import click

from testgrove.cli.context import project_in
from testgrove.cli.output import SCHEMA_VERSION, common, echo, example, no_template_cache


@click.command("broker")
@click.option("--session", type=click.IntRange(1, 2**22), required=True, help="End with this process.", metavar="PID")
@click.option(
    "--python",
    "prefix",
    type=click.Path(path_type=Path),
    help="The environment that migrations run in; without it, commands come from PATH.",
    metavar="DIR",
)
@click.option("--installed", default="", help="A word that changes with what is installed there.", metavar="WORD")
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

    Prints where its socket is, as one line of JSON, and then works until the process PID has ended. pytest-testgrove
    starts one by itself; docs/broker.md has the protocol for others.
    """
    from testgrove.app.session_broker import serve_session
    from testgrove.app.session_migration import Tests

    def on_ready(path: Path) -> None:
        echo(json.dumps({"schema_version": SCHEMA_VERSION, "socket": str(path)}))
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # whoever reads us need not wait for our end

    project = project_in(directory)
    with project.holding("testgrove broker") as holder:
        serve_session(project, holder, session, Tests(prefix, installed), on_ready)
