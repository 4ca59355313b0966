"""artifacts: collect."""

from __future__ import annotations

from pathlib import Path

import click

from testgrove.cli.arguments import complete_worktrees
from testgrove.cli.context import project_in
from testgrove.cli.groups import NearMatches
from testgrove.cli.output import common, example, print_json, say
from testgrove.cli.worktrees import current


@click.group("artifacts", cls=NearMatches)
@example("testgrove artifacts collect test-integration-api")
def artifacts_command() -> None:
    """The outputs of tests in worktrees: JUnit files, coverage, logs and what the setting `collect` names."""


@artifacts_command.command("collect")
@click.argument("worktrees", nargs=-1, metavar="[WORKTREE]...", shell_complete=complete_worktrees)
@click.option(
    "--output", type=click.Path(path_type=Path, file_okay=False), metavar="DIR", help="Default: test-artifacts."
)
@common
@example("testgrove artifacts collect", "testgrove artifacts collect test-integration-api --output out")
def collect_command(
    *, worktrees: tuple[str, ...], output: Path | None, directory: Path, as_json: bool, quiet: bool
) -> None:
    """Copy test outputs from worktrees to DIR/<worktree>/: coverage/, logs/, JUnit files and so on.

    Default: all worktrees. Existing copies are replaced.
    """
    from testgrove.app.worktrees.artifacts import collect

    project = project_in(directory)
    current(project)
    found = collect(project, list(dict.fromkeys(worktrees)), (output or project.artifacts).absolute())
    for each in found:
        number = f"{len(each.files)} file{'s' if len(each.files) != 1 else ''}"
        say(
            f"{each.worktree}: {number} in {each.folder}" if each.files else f"{each.worktree}: no outputs", quiet=quiet
        )
    if not found:
        say("no worktrees", quiet=quiet)
    if as_json:
        print_json(collected={each.worktree: {"folder": str(each.folder), "files": each.files} for each in found})
