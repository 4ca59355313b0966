"""create, list, show, path, env, exec."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from testgrove.app.project import Project
from testgrove.cli.context import project_in
from testgrove.cli.output import common, echo, example, print_json, say
from testgrove.core.model import Worktree, WorktreeId, WorktreeSpec, WorktreeStatus
from testgrove.errors import UsageError


@click.command("create")
@click.option("--purpose", required=True, help="What it is for: test-unit, test-integration, review, …")
@click.option("--identifier", required=True, help="Your name for it, unique within its purpose.")
@click.option(
    "--branch",
    "ref",
    required=True,
    help="Branch, remote branch, tag or SHA. One that is checked out elsewhere is checked out detached.",
)
@click.option("--ports", is_flag=True, help="Lease a block of ports.")
@click.option("--python", help="Interpreter version, such as 3.12.")
@click.option("--new-branch", is_flag=True, help="Make --branch, starting at --base.")
@click.option("--base", metavar="REF", help="Where a new branch starts. Default: HEAD.")
@click.option("--no-env", is_flag=True, help="Make no virtual environment.")
@common
@example(
    "testgrove create --purpose test-integration --identifier api --branch main --ports",
    "testgrove create --purpose review --identifier 42 --branch feature/x --new-branch --base main",
)
def create_command(
    *,
    purpose: str,
    identifier: str,
    ref: str,
    ports: bool,
    python: str | None,
    new_branch: bool,
    base: str | None,
    no_env: bool,
    directory: Path,
    as_json: bool,
    quiet: bool,
) -> None:
    """Make a worktree: a checkout with its own environment, ports and env file."""
    from testgrove.app import worktrees

    worktree_id = WorktreeId(purpose, identifier)
    if base and not new_branch:
        raise UsageError(
            "base-unused", f"--base {base} needs --new-branch", hint="add --new-branch, or leave --base out"
        )
    project = project_in(directory)
    spec = WorktreeSpec(
        worktree_id,
        (base or "HEAD") if new_branch else ref,
        ports=project.settings.ports.names if ports else (),
        python=python,
        new_branch=ref if new_branch else None,
        environment=not no_env,
    )
    with project.holding(f"testgrove create {worktree_id}") as holder:
        target = worktrees.target_of(project, spec.ref)
        creation = worktrees.create(project, holder, spec, target, on_phase=_progress(quiet=quiet or as_json))
    worktree = find(project, str(worktree_id))
    for note in creation.notes:
        say(f"note: {note}", quiet=quiet)
    if as_json:
        print_json(worktree=as_document(worktree))
    else:
        echo(describe(worktree))


def _progress(*, quiet: bool) -> Callable[[str, str], None]:
    def on_phase(phase: str, reason: str) -> None:
        say(f"{phase}{f': {reason}' if reason else ''} …", quiet=quiet)

    return on_phase


@click.command("list")
@click.option("--purpose", help="Only this purpose.")
@click.option("--status", type=click.Choice([status.value for status in WorktreeStatus]), help="Only this status.")
@click.option("--ports", is_flag=True, help="Show the leased ports.")
@common
@example("testgrove list", "testgrove list --status parked --json")
def list_command(
    *, purpose: str | None, status: str | None, ports: bool, directory: Path, as_json: bool, quiet: bool
) -> None:
    """List this project's worktrees: id, status, branch or commit, age, path."""
    project = project_in(directory)
    found = [
        worktree
        for worktree in current(project)
        if purpose in (None, worktree.id.purpose) and status in (None, worktree.status)
    ]
    if as_json:
        print_json(worktrees=[as_document(worktree) for worktree in found])
        return
    width = max((len(str(worktree.id)) for worktree in found), default=0)
    for worktree in found:
        at = worktree.branch or worktree.commit[:10]
        numbers = "  " + ",".join(f"{name}={port}" for name, port in worktree.ports.items()) if ports else ""
        note = f"  ({worktree.note})" if worktree.note else ""
        echo(f"{worktree.id!s:{width}}  {worktree.status:8}  {at}  {worktree.path}{numbers}{note}")
    if not found:
        say(
            "no worktrees; make one: testgrove create --purpose test-unit --identifier mine --branch HEAD",
            quiet=quiet,
        )


@click.command("show")
@click.argument("worktree")
@common
@example("testgrove show test-integration-api")
def show_command(*, worktree: str, directory: Path, as_json: bool, quiet: bool) -> None:  # noqa: ARG001 - common options
    """Show one worktree whole. WORKTREE is an id, or an identifier that only one purpose has."""
    found = find(project_in(directory), worktree)
    if as_json:
        print_json(worktree=as_document(found))
    else:
        echo(describe(found))


@click.command("path")
@click.argument("worktree")
@common
@example('cd "$(testgrove path test-integration-api)"')
def path_command(*, worktree: str, directory: Path, as_json: bool, quiet: bool) -> None:  # noqa: ARG001 - common options
    """Print a worktree's path."""
    found = find(project_in(directory), worktree)
    if as_json:
        print_json(path=str(found.path))
    else:
        echo(str(found.path))


@click.command("env")
@click.argument("worktree")
@click.option(
    "--format",
    "form",
    type=click.Choice(["dotenv", "shell", "json", "github"]),
    default="dotenv",
    show_default=True,
    help="github: for $GITHUB_ENV.",
)
@common
@example('eval "$(testgrove env test-integration-api --format shell)"')
def env_command(*, worktree: str, form: str, directory: Path, as_json: bool, quiet: bool) -> None:  # noqa: ARG001 - common options
    """Print a worktree's environment variables, passwords included."""
    from testgrove.app.inside import variables_of

    values = variables_of(find(project_in(directory), worktree))
    if as_json:
        print_json(variables=values)
    else:
        echo(_formatted(values, form), newline=False)


def _formatted(values: dict[str, str], form: str) -> str:
    import json
    import shlex

    match form:
        case "json":
            return json.dumps(values, indent=2) + "\n"
        case "shell":
            return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in values.items())
        case "github":
            return "".join(f"{name}={value}\n" for name, value in values.items())
        case _:
            from testgrove.core.envfile import render

            return render(values)


@click.command("exec", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("worktree")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@common
@example("testgrove exec test-integration-api -- pytest -x tests/integration")
def exec_command(worktree: str, command: tuple[str, ...], directory: Path, **_common: bool) -> None:
    """Run a command inside a worktree, with its environment active and its variables set.

    The exit status is the command's own; 126 when it cannot be executed, 127 when it is not found.
    """
    from testgrove.app.inside import replace_by

    found = find(project_in(directory), worktree)
    replace_by(found, command[1:] if command[0] == "--" else command)


def current(project: Project) -> list[Worktree]:
    """The project's worktrees, after what dead commands left has been finished."""
    from testgrove.app.records import all_worktrees, dead_holders
    from testgrove.system.locks import LockFile

    if dead_holders(project.store, LockFile(project.locations.locks).is_held):
        with project.holding("testgrove recovery"):
            pass
    return all_worktrees(project)


def find(project: Project, name: str) -> Worktree:
    """A worktree by id or identifier. Raises PreconditionError."""
    from testgrove.app.records import row_of, to_worktree

    current(project)
    return to_worktree(row_of(project, name))


def as_document(worktree: Worktree) -> dict[str, Any]:
    """A worktree for --json."""
    return {
        "id": str(worktree.id),
        "purpose": worktree.id.purpose,
        "identifier": worktree.id.identifier,
        "status": str(worktree.status),
        "path": str(worktree.path),
        "branch": worktree.branch,
        "commit": worktree.commit,
        "created": worktree.created.isoformat(timespec="seconds"),
        "ports": worktree.ports,
        "databases": worktree.databases,
        "python": worktree.python,
        "env_file": worktree.env_file,
        "note": worktree.note,
    }


def describe(worktree: Worktree) -> str:
    """A worktree in lines of name and value."""
    ports = " ".join(f"{name}={port}" for name, port in worktree.ports.items())
    lines = {
        "id": str(worktree.id),
        "status": str(worktree.status),
        "path": str(worktree.path),
        "branch": worktree.branch or "(detached)",
        "commit": worktree.commit,
        "python": worktree.python,
        "ports": ports,
        "env file": os.fspath(worktree.path / worktree.env_file),
        "note": worktree.note,
    }
    lines |= {engine: database["url"] for engine, database in worktree.databases.items()}
    return "\n".join(f"{name:9} {value}" for name, value in lines.items() if value)
