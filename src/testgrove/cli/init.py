"""init: settings that fit, and the documented scripts."""

from __future__ import annotations

from pathlib import Path

import click

from testgrove.cli.context import project_in
from testgrove.cli.output import common, echo, example, print_json, say


@click.command("init")
@click.option(
    "--scripts",
    is_flag=True,
    help='Also set root = "worktrees" and write the documented scripts to scripts/ and tests/integration/.',
)
@common
@example("testgrove init", "testgrove init --scripts")
def init_command(*, scripts: bool, directory: Path, as_json: bool, quiet: bool) -> None:
    """Write a commented [tool.testgrove] table that fits this project: suites, services, variables, processes.

    testgrove also works without it. Existing files are never overwritten.
    """
    from testgrove.app.init import init
    from testgrove.cli.create import warn_of_nested_root

    project = project_in(directory)
    written = init(project, scripts=scripts)
    names = [str(path.relative_to(project.repository.toplevel)) for path in (*written.scripts, written.settings)]
    if as_json:
        print_json(file=str(written.settings), added=written.text, scripts=[str(path) for path in written.scripts])
    elif written.text:
        echo(written.text, newline=False)
    for name in names if written.text else names[:-1]:
        say(f"wrote {name}", quiet=quiet)
    if not written.text and not written.scripts:
        say("nothing to do: everything already exists", quiet=quiet)
    warn_of_nested_root(project, quiet=quiet)
