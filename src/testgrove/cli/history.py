"""history: statistics of past runs for each scenario and cell."""

from __future__ import annotations

from pathlib import Path

import click

from testgrove.cli.context import project_in
from testgrove.cli.output import common, echo, example, print_json, say
from testgrove.cli.worktrees import current


@click.command("history")
@click.argument("patterns", nargs=-1, metavar="[NAME]...")
@click.option(
    "--last",
    type=click.IntRange(min=1),
    default=100,
    show_default=True,
    metavar="N",
    help="Use only the newest N runs.",
)
@common
@example("testgrove history", "testgrove history parse report --last 20", "testgrove history --json")
def history_command(*, patterns: tuple[str, ...], last: int, directory: Path, as_json: bool, quiet: bool) -> None:
    """Show pass rates, flakiness and durations of scenarios and cells over the runs in test-artifacts.

    With NAMEs, only those whose name contains one of them. Skipped and cancelled ones are not counted.
    """
    from testgrove.app.runs.past import past_results
    from testgrove.core.runs.history import history
    from testgrove.reports.history import as_lines, document

    project = project_in(directory)
    current(project)  # a run that was killed counts, too
    entries = history(past_results(project, last))
    found = [each for each in entries if not patterns or any(one.lower() in each.key.lower() for one in patterns)]
    if as_json:
        print_json(entries=[document(each) for each in found])
    elif found:
        echo("\n".join(as_lines(found)))
    else:
        say("no matching runs yet", quiet=quiet)
