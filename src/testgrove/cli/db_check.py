"""db check: whether migrations go forward, back and forward again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from testgrove.cli.arguments import complete_worktrees
from testgrove.cli.context import project_in
from testgrove.cli.output import common, echo, example, print_json, say

if TYPE_CHECKING:
    from testgrove.core.migrations.check import Checked, Problem


@click.command("check")
@click.argument("worktree", required=False, shell_complete=complete_worktrees)
@click.option(
    "--service",
    "--engine",
    "service",
    help="Only this service, or an engine's default one. Default: all with a migration command.",
)
@click.option(
    "--irreversible",
    "accepted",
    multiple=True,
    metavar="REV",
    help="A migration known to be irreversible: reported, but not as a failure. Repeatable.",
)
@common
@example(
    "testgrove db check",
    "testgrove db check test-migration-x --service postgres",
    "testgrove db check --irreversible 0007 --json",
)
def check(
    *,
    worktree: str | None,
    service: str | None,
    accepted: tuple[str, ...],
    directory: Path,
    as_json: bool,
    quiet: bool,
) -> int:
    """Check that migrations run forward, back and forward again, in a worktree or in the current checkout.

    Starts with an empty database and migrates one step at a time. The schema is compared after each step, and the
    models with the newest schema. There must be only one newest migration. The check uses temporary databases. The
    exit status is 1 if a migration fails the check.
    """
    from testgrove.app.databases.migration_check import check_migrations
    from testgrove.cli.worktrees import find

    project = project_in(directory)
    if worktree is not None:  # it can be that of another sub-project
        project = project.around(find(project, worktree).directory)
    found = check_migrations(
        project,
        worktree,
        service,
        accepted=accepted,
        say=lambda text: say(text, quiet=quiet or as_json),
    )
    passed = all(checked.passed for checked in found)
    if as_json:
        print_json(worktree=worktree or "", passed=passed, checks=[checked.document() for checked in found])
    else:
        for checked in found:
            _show(checked)
    return 0 if passed else 1


def _show(checked: Checked) -> None:
    for problem in checked.problems:
        echo(_text(checked.name, problem))
    count = len(checked.steps)
    went = not any(problem.code == "forward-failed" for problem in checked.problems)
    models = {"same": "the models fit", "differ": "the models differ", "failed": "models not compared"}
    said = models.get(checked.models) or f"models not compared ({checked.reason})"
    verdict = "passed" if checked.passed else "failed"
    steps = f"{count} step{'s' if count != 1 else ''}"
    wrong = [problem for problem in checked.problems if not problem.accepted]
    tail = f", {len(wrong)} problem{'s' if len(wrong) != 1 else ''}" if wrong else ""
    echo(f"{checked.name}: {verdict}: {checked.tool}, {steps}{f', {said}' if count and went else ''}{tail}")


def _text(name: str, problem: Problem) -> str:
    from testgrove.core.migrations.schema import shown

    where = f" {problem.migration}:" if problem.migration else ""
    known = " (known)" if problem.accepted else ""
    lines = [f"{name}:{where} {problem.code}{known}: {problem.message}"]
    if problem.diff:
        lines.append(shown(problem.diff, indent="    "))
    elif problem.output and problem.code != "irreversible" and not problem.message.endswith(problem.output):
        lines += [f"    {line}" for line in problem.output.splitlines()[-15:]]
    return "\n".join(lines)
