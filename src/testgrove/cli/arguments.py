"""Arguments that many commands have, and what a shell completes them to: quickly, and nothing where it cannot."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from pathlib import Path

import click

from testgrove.errors import TestgroveError

Complete = Callable[[click.Context, click.Parameter, str], list[str]]


def a_number(_context: click.Context, parameter: click.Parameter, value: float | None) -> float | None:
    """Refuse what is in every range."""
    if value is not None and math.isnan(value):
        raise click.BadParameter(f"nan is not a valid number of {str(parameter.metavar).lower()}")
    return value


def _completing(names: Callable[[Path], Iterable[str]]) -> Complete:
    """Complete to the names that are not used yet. names: returns those of the project in a folder."""

    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
        given = ctx.params.get(param.name or "")
        used = given if isinstance(given, tuple) else ()
        try:
            found = names(ctx.params.get("directory") or Path())
            return [name for name in found if name.startswith(incomplete) and name not in used]
        except (TestgroveError, OSError):
            return []  # the command itself reports the error

    return complete


def _worktrees(directory: Path) -> list[str]:
    from testgrove.app.worktrees.records import all_of
    from testgrove.cli.context import project_in

    return [str(worktree.id) for worktree in all_of(project_in(directory))]


def _suites(directory: Path) -> list[str]:
    from testgrove.app.runs.suites import suites_of
    from testgrove.cli.context import project_in

    return list(suites_of(project_in(directory)).whole)


def _runs(directory: Path) -> list[str]:
    from testgrove.app.runs.past import run_ids
    from testgrove.cli.context import project_in

    return ["latest", *reversed(run_ids(project_in(directory)))]


complete_worktrees = _completing(_worktrees)
complete_suites = _completing(_suites)
complete_runs = _completing(_runs)

one_worktree = click.argument(
    "worktree", default=".", required=False, metavar="[WORKTREE]", shell_complete=complete_worktrees
)
several_worktrees = click.argument(
    "worktrees", nargs=-1, required=True, metavar="WORKTREE...", shell_complete=complete_worktrees
)
