"""remove, cleanup."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import click

from testgrove.app.project import Project
from testgrove.cli.arguments import a_number, several_worktrees
from testgrove.cli.context import project_in
from testgrove.cli.output import common, example, print_json, say, show_error
from testgrove.errors import PreconditionError, TestgroveError

if TYPE_CHECKING:
    from testgrove.core.settings.types import Service

_A_CENTURY = 876_000.0  # hours


@click.command("remove")
@several_worktrees
@click.option("--force", is_flag=True, help="Also remove your files and commits in it. They are lost.")
@click.option("--rescued", is_flag=True, help="Delete commits from `list --rescued` instead of removing worktrees.")
@common
@example("testgrove remove test-integration-api", "testgrove remove --rescued test-integration-api")
def remove_command(
    *, worktrees: tuple[str, ...], force: bool, rescued: bool, directory: Path, as_json: bool, quiet: bool
) -> int:
    """Remove worktrees: checkout, environment, ports, databases.

    Refuses while a worktree contains your files or commits. Test outputs are kept in test-artifacts.
    """
    project = project_in(directory)
    gone: list[str] = []
    refused: dict[str, TestgroveError] = {}
    with _dropping(project) if rescued else _removing(project, force=force) as take_away:
        for name in dict.fromkeys(worktrees):
            try:
                what, notes = take_away(name)
                gone.append(what)
                say(f"removed {what}", quiet=quiet)
                for note in notes:
                    say(f"note: {note}", quiet=quiet)
            except TestgroveError as error:
                if len(worktrees) == 1:
                    raise
                show_error(error, as_json=False)
                refused[name] = error
    if as_json:
        print_json(removed=gone, refused={name: error.message for name, error in refused.items()})
    return max((error.exit_status for error in refused.values()), default=0)


TakeAway = Callable[[str], tuple[str, list[str]]]  # by name; returns what was removed, and notes


@contextmanager
def _removing(project: Project, *, force: bool) -> Iterator[TakeAway]:
    """Return how a worktree is removed."""
    from testgrove.app.worktrees.removal import RemovalOptions, remove

    with project.holding("testgrove remove") as holder:

        def take_away(name: str) -> tuple[str, list[str]]:
            removed = remove(project, holder, name, RemovalOptions(force=force))
            left = f"{removed.path} was not removed: it now contains something else" if removed.path.exists() else ""
            return str(removed.id), [note for note in (removed.note, left) if note]

        yield take_away


@contextmanager
def _dropping(project: Project) -> Iterator[TakeAway]:
    """Return how a rescued commit is dropped."""
    from testgrove.system import git

    def take_away(name: str) -> tuple[str, list[str]]:
        commit = git.drop_rescued(project.repository, name)
        return name, [f"to restore it while git still has it: git branch NAME {commit}"]

    yield take_away


@click.command("cleanup")
@click.option(
    "--max-age",
    type=click.FloatRange(min=0, max=_A_CENTURY),
    callback=a_number,
    default=24.0,
    show_default=True,
    metavar="HOURS",
    help="Only worktrees older than this.",
)
@click.option("--merged", is_flag=True, help="Only worktrees whose commit is merged into the main branch.")
@click.option("--yes", is_flag=True, help="Remove them. Without --yes, only show what would be removed.")
@common
@example(
    "testgrove cleanup --max-age 24",
    "testgrove cleanup --max-age 0 --yes",
    "testgrove cleanup --merged --max-age 0 --yes",
)
def cleanup_command(*, max_age: float, merged: bool, yes: bool, directory: Path, as_json: bool, quiet: bool) -> int:
    """Remove old test worktrees, parked ones, kept databases of failed tests, and unused templates on external servers.

    Skips worktrees that are in use or contain your files or commits. Worktrees of other purposes are never touched.
    """
    from testgrove.app.worktrees.cleanup import cleanup_candidates, remove_many
    from testgrove.app.worktrees.shared_git import shared_changes

    project = project_in(directory)
    outcome = Outcome(quiet=quiet)
    with project.holding("testgrove cleanup") as holder:
        candidates = cleanup_candidates(project, max_age, merged=merged)
        for each in candidates:
            if each.why:
                outcome.done(each.id, PreconditionError("skipped", each.why))
        chosen = [each.id for each in candidates if not each.why]
        if yes:
            remove_many(project, holder, chosen, outcome.done)
            for change in shared_changes(project):
                say(f"note: {change}", quiet=quiet)
    kept = [] if merged else _clean_kept(project, max_age, outcome, yes=yes)
    templates = [] if merged else _clean_server(project, max_age, outcome, yes=yes)
    if not candidates and not templates and not kept:
        older = f"older than {max_age:g} {'hour' if max_age == 1 else 'hours'}{' and merged' if merged else ''}"
        say(f"nothing to remove: no worktrees {older}", quiet=quiet)
    chosen += [*kept, *templates]
    if chosen and not yes:
        say("\n".join(f"would remove {name}" for name in chosen), quiet=quiet)
        words = f"cleanup {'--merged ' if merged else ''}--max-age {max_age:g}"
        say(f"nothing was removed; to remove: testgrove {words} --yes", quiet=quiet)
    if as_json:
        print_json(removed=outcome.gone, skipped=outcome.skipped, would_remove=[] if yes else chosen)
    return 0


def _clean_kept(project: Project, max_age: float, outcome: Outcome, *, yes: bool) -> list[str]:
    """The databases of failed tests that are, or would be, removed."""
    from testgrove.app.failures.tests import failed_databases, remove_kept

    found = [each for each in failed_databases(project) if each.age.total_seconds() >= max_age * 3600]
    for each in found if yes else ():
        remove_kept(each)
        outcome.done(each.name, None)
    return [each.name for each in found]


def _clean_server(project: Project, max_age: float, outcome: Outcome, *, yes: bool) -> list[str]:
    """The templates that are, or would be, taken off the server that the settings name by URL."""
    if all(service.is_embedded for service in project.settings.services.values()):
        return []
    from testgrove.app.databases.external_templates import services_with_templates

    found: list[str] = []
    for service in services_with_templates(project).values():
        try:
            found += _clean_templates(service, max_age, outcome, yes=yes)
        except TestgroveError as error:
            outcome.done("its templates on the server", error)
    return found


def _clean_templates(service: Service, max_age: float, outcome: Outcome, *, yes: bool) -> list[str]:
    from testgrove.app.databases.external_templates import server_with_templates, stale_templates

    with server_with_templates(service) as server:
        found = stale_templates(server, max_age)
        for name in found if yes else ():
            server.drop_template(name)
            outcome.done(name, None)
    return found


@dataclass
class Outcome:
    """The progress of a clean-up; each step is printed as it happens."""

    quiet: bool
    gone: list[str] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)

    def done(self, name: str, error: TestgroveError | None, note: str = "") -> None:
        """Report one worktree that was removed, or kept because of an error. note: what was kept of it."""
        if error is None:
            self.gone.append(name)
            say(f"removed {name}", quiet=self.quiet)
            if note:
                say(f"note: {note}", quiet=self.quiet)
        else:
            self.skipped[name] = error.message
            say(f"skipped {name}: {error.message}", quiet=self.quiet)
