"""create: a worktree of its own, with what its purpose asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, TypedDict, Unpack

import click

from testgrove.app.project import Project
from testgrove.cli.context import project_in
from testgrove.cli.output import common, echo, example, no_template_cache, print_json, progress, say, stream
from testgrove.cli.worktrees import as_document, describe, find
from testgrove.core.model import WorktreeId, WorktreeSpec
from testgrove.core.worktrees.naming import PURPOSE, NamedRef, identifier_for
from testgrove.errors import UsageError

if TYPE_CHECKING:
    from testgrove.app.holder import Holder
    from testgrove.app.worktrees.workspace import PendingDatabases


class CreateOptions(TypedDict):
    """The argument and options that say what the worktree is. ref: --branch."""

    name: str | None
    purpose: str | None
    identifier: str | None
    ref: str | None
    ports: bool
    python: str | None
    deps: str | None
    new_branch: bool
    base: str | None
    migrate_to: tuple[str, ...]
    no_env: bool
    script_python: Path | None


@click.command("create")
@click.argument("name", required=False)
@click.option("--purpose", help=f"What it is for: test-unit, test-integration, review, … [default: {PURPOSE}]")
@click.option(
    "--identifier", help="Its name, unique within its purpose. The id is PURPOSE-IDENTIFIER. [default: from NAME]"
)
@click.option(
    "--branch", "ref", help="Branch, remote branch, tag or SHA. If it is checked out elsewhere: detached HEAD."
)
@click.option("--ports", is_flag=True, help="Lease a block of ports.")
@click.option(
    "--python", help="Python version, such as 3.12. Default for test-matrix: the end of --identifier (py3.12)."
)
@click.option("--deps", metavar="SET", help="Dependency set: lowest, highest, locked, or one from the settings.")
@click.option("--new-branch", is_flag=True, help="Create the branch NAME or --branch at --base.")
@click.option(
    "--base", metavar="REF", help="Where a new branch starts. Default: for --branch HEAD, for NAME the default branch."
)
@click.option(
    "--migrate-to",
    multiple=True,
    metavar="[SERVICE=]REV",
    help="Migrate the database to this revision instead of the newest. SERVICE: not the default one. Repeatable.",
)
@click.option(
    "--script-python", type=click.Path(path_type=Path), hidden=True, help="The Python that runs worktree_create.py."
)
@click.option("--no-env", is_flag=True, help="Create no virtual environment and no databases.")
@no_template_cache
@common
@example(
    "testgrove create feature/login",
    "testgrove create pr/12",
    "testgrove create --purpose test-integration --identifier api --branch main --ports",
)
def create_command(*, directory: Path, as_json: bool, quiet: bool, **options: Unpack[CreateOptions]) -> None:
    """Create a worktree: a checkout with its own environment, ports and env file.

    NAME is a branch, remote branch, tag or SHA, `-` for the branch before this one, `pr/12` for a pull request (fetched
    if needed), or a new name: its branch is created from the default branch. Without NAME and --branch: HEAD.
    """
    from testgrove.core.environments.dependency_sets import find_set

    _refuse_unused(options)
    project = project_in(directory)
    spec, own_notes = _spec(project, options)
    find_set(project.settings, spec.deps)
    notes = [*own_notes, *_create(project, spec, options["migrate_to"], quiet=quiet or as_json)]
    worktree = find(project, str(spec.id))
    for note in notes:
        say(f"note: {note}", quiet=quiet)
    warn_of_nested_root(project, quiet=quiet)
    if as_json:
        print_json(worktree=as_document(worktree))
    else:
        echo(describe(worktree))


def _refuse_unused(options: CreateOptions) -> None:
    name, base, deps = options["name"], options["base"], options["deps"]
    if name is not None and options["ref"] is not None:
        raise UsageError("two-refs", f"{name} and --branch {options['ref']}: only one can be checked out",
                         hint="remove one of them")  # fmt: skip
    if options["new_branch"] and name is None and options["ref"] is None:
        raise UsageError(
            "no-branch-name", "--new-branch requires the branch's name", hint="testgrove create NAME --new-branch"
        )
    if base is not None and name is None and not options["new_branch"]:
        raise UsageError(
            "base-unused", f"--base {base} requires --new-branch", hint="add --new-branch, or remove --base"
        )
    if deps and options["no_env"]:
        raise UsageError(
            "deps-unused", f"--deps {deps} cannot be combined with --no-env", hint="remove --no-env or --deps"
        )


def _spec(project: Project, options: CreateOptions) -> tuple[WorktreeSpec, list[str]]:
    """Return what to make, and notes on it."""
    from testgrove.core.runs.plan import named_python

    python = options["python"]
    ref = _named(project, options) if options["ref"] is None else _documented(options["ref"], options)
    purpose = PURPOSE if options["purpose"] is None else options["purpose"]
    worktree_id = WorktreeId(purpose, ref.identifier if options["identifier"] is None else options["identifier"])
    spec = WorktreeSpec(
        worktree_id,
        ref.ref,
        ports=project.settings.ports.names if options["ports"] else (),
        python=named_python(worktree_id) if python is None else python,
        new_branch=ref.new_branch,
        environment=not options["no_env"],
        deps=options["deps"],
        directory=project.directory,
        script_python=options["script_python"],
    )
    return spec, [ref.note] if ref.note else []


def _documented(ref: str, options: CreateOptions) -> NamedRef:
    if not options["new_branch"]:
        return NamedRef(ref, identifier_for(ref))
    return NamedRef("HEAD" if options["base"] is None else options["base"], identifier_for(ref), new_branch=ref)


def _named(project: Project, options: CreateOptions) -> NamedRef:
    from testgrove.app.worktrees.by_name import meaning_of

    name = options["name"]
    return meaning_of(project, "HEAD" if name is None else name, new=options["new_branch"], base=options["base"])


def _create(project: Project, spec: WorktreeSpec, migrate_to: Sequence[str], *, quiet: bool) -> Sequence[str]:
    """Make the worktree; notes on it."""
    from testgrove.app.runs.exclusive import CellLock
    from testgrove.app.worktrees import operations
    from testgrove.app.worktrees.hooks import unseen
    from testgrove.core.migrations.command import revisions_asked
    from testgrove.core.runs.default_suites import services_for

    services = services_for(project.settings, spec.id.purpose) if spec.environment else ()
    if spec.environment and spec.script_python is not None:  # the documents' snippets use them in any worktree
        services = tuple(project.settings.services)
    revisions = revisions_asked(migrate_to, project.settings.services, services)
    shown = progress(quiet=quiet)
    with (
        project.holding(f"testgrove create {spec.id}") as holder,
        CellLock(project, Event(), partial(shown, "waiting")) as turn,
    ):
        turn.take(exclusive=False)  # do not disturb an exclusive suite
        target = operations.target_of(project, spec.ref)
        streamed = unseen if quiet else stream
        with _databases(project, holder, services, spec.id.purpose, revisions) as making:
            return operations.create(
                project, holder, spec, target, on_phase=shown, databases=making, on_output=streamed
            ).notes


def _databases(
    project: Project, holder: Holder, services: Sequence[str], purpose: str, revisions: Mapping[str, str]
) -> AbstractContextManager[PendingDatabases | None]:
    if not services:
        return nullcontext()
    from testgrove.app.databases.worktree import pending_databases

    empty = purpose == "test-migration"
    return pending_databases(project, holder, services, revisions=revisions, empty=empty)


def warn_of_nested_root(project: Project, *, quiet: bool) -> None:
    """Print the known problems of worktrees inside the repository."""
    from testgrove.app.worktrees.nested_root import problems

    for problem in problems(project):
        say(f"warning: {problem.message}\n  fix: {problem.fix}", quiet=quiet)
