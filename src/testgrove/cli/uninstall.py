"""uninstall."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from testgrove.cli.context import render_reports
from testgrove.cli.output import common, example, print_json, say, warn
from testgrove.errors import InterruptedByUser, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from testgrove.app.uninstall.uninstall import Uninstall
    from testgrove.core.runs.result import RunResult


@click.command("uninstall")
@click.option("--yes", is_flag=True, help="Do not ask.")
@common
@example("testgrove uninstall", "testgrove uninstall --yes --json")
def uninstall_command(*, yes: bool, directory: Path, as_json: bool, quiet: bool) -> int:  # noqa: ARG001 - common options
    """Remove everything that testgrove has stored for you on this machine, in all projects, from any folder.

    This includes worktrees, servers and their databases, ports, templates and other caches, temporary folders, registry
    files, testgrove's lines in .git/info/exclude, and its records. It lists them and asks for confirmation.

    Your work stays, and is listed with the command that removes it: worktrees that contain your files or commits,
    test-artifacts, commits kept by clean-up, databases on external servers. While such a worktree exists, its servers
    and its record stay, too, and the exit status is 3. Refuses while other testgrove commands run.

    To uninstall the program itself afterwards: uv tool uninstall testgrove, or pip uninstall testgrove.
    """
    from testgrove.app.uninstall.uninstall import uninstalling
    from testgrove.system.locations import locate

    locations = locate(os.environ)
    compiled = locations.cache / "reports"

    def render(result: RunResult) -> Iterator[tuple[str, str]]:
        compiled.mkdir(exist_ok=True, mode=0o700)
        return render_reports(result, compiled)

    with uninstalling(locations, render, warn) as work:
        if not yes:
            _ask(work)
        work.perform()
    for line in work.gone:
        say(f"removed {line}", quiet=quiet)
    for each in work.left:
        say(f"left    {each.what}: {each.why}\n        to remove it: {each.how}", quiet=quiet)
    if as_json:
        print_json(removed=work.gone, left=[asdict(each) for each in work.left], complete=work.complete)
    return 0 if work.complete else 3


def _ask(work: Uninstall) -> None:
    """Ask for confirmation. Raises UsageError without a terminal, InterruptedByUser for a no."""
    say("\n".join(work.plan()))
    if not sys.stdin.isatty():
        raise UsageError(
            "not-confirmed",
            "uninstall asks before it removes anything, and standard input is not a terminal",
            hint="testgrove uninstall --yes",
        )
    if not click.confirm("Remove all that?", err=True):
        raise InterruptedByUser("not-confirmed", "nothing was removed")
