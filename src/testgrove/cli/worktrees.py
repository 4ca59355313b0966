"""list, show, path, env, exec, shell."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from testgrove.app.project import Project
from testgrove.cli.arguments import one_worktree
from testgrove.cli.context import project_in
from testgrove.cli.output import common, echo, example, print_json, say
from testgrove.cli.table import print_table
from testgrove.core.model import Worktree, WorktreeStatus
from testgrove.core.worktrees.record import WorktreeRecord

if TYPE_CHECKING:
    from testgrove.core.documents.commands import Database, WorktreeDocument


@click.command("list")
@click.option("--purpose", help="Only this purpose.")
@click.option("--status", type=click.Choice([status.value for status in WorktreeStatus]), help="Only this status.")
@click.option("--ports", is_flag=True, help="Show the leased ports.")
@click.option("--rescued", is_flag=True, help="List the commits that were kept from removed worktrees.")
@common
@example("testgrove list", "testgrove list --status parked --json", "testgrove list --rescued")
def list_command(
    *, purpose: str | None, status: str | None, ports: bool, rescued: bool, directory: Path, as_json: bool, quiet: bool
) -> None:
    """List this project's worktrees: id, status, branch or commit, path.

    The next run or `create` reuses parked worktrees. Broken ones could not be removed.

    With --rescued, list commits that were on no branch when clean-up or a run removed their worktree. They are kept
    under refs/testgrove/rescued until `remove --rescued` deletes them.
    """
    project = project_in(directory)
    if rescued:
        _list_rescued(project, as_json=as_json, quiet=quiet)
        return
    found = [
        worktree
        for worktree in current(project)
        if purpose in (None, worktree.id.purpose) and status in (None, worktree.status)
    ]
    if as_json:
        print_json(worktrees=[as_document(worktree) for worktree in found])
        return
    columns = ["id", "status", "branch or commit", "path", *["ports"] * ports, "note"]
    print_table(columns, [_row(worktree, ports=ports) for worktree in found])
    if not found and not _say_moved(project, quiet=quiet):
        say(
            "no worktrees; to create one: testgrove create NAME   (a branch, or a new name)",
            quiet=quiet,
        )


def _row(worktree: Worktree, *, ports: bool) -> list[str]:
    numbers = ",".join(f"{name}={port}" for name, port in worktree.ports.items())
    note = f"({worktree.note})" if worktree.note else ""
    at = worktree.branch or worktree.commit[:10]
    return [str(worktree.id), str(worktree.status), at, str(worktree.path), *[numbers] * ports, note]


def _say_moved(project: Project, *, quiet: bool) -> bool:
    """Print a note if worktrees were created at the repository's former place; return whether there are any."""
    from testgrove.app.moved_repository import former_locations

    former = former_locations(project)
    for each in former:
        count = f"{len(each.worktrees)} worktree{'s' if len(each.worktrees) > 1 else ''}"
        say(f"{count} of {each.main}, where this repository was, cannot be listed: testgrove doctor", quiet=quiet)
    return bool(former)


def _list_rescued(project: Project, *, as_json: bool, quiet: bool) -> None:
    from testgrove.core.text import printable
    from testgrove.system import git

    found = git.rescued(project.repository)
    if as_json:
        times = [each.when.strftime("%Y-%m-%dT%H:%M:%SZ") if each.when else None for each in found]
        documents = [
            {"id": each.id, "commit": each.commit, "subject": each.subject, "when": time}
            for each, time in zip(found, times, strict=True)
        ]
        print_json(rescued=documents)
        return
    rows = []
    for each in found:
        when = f"{each.when.astimezone():%Y-%m-%d %H:%M}" if each.when else "unknown time"
        rows.append([each.id, each.commit[:10], when, printable(each.subject)])
    print_table(["id", "commit", "date", "subject"], rows)
    if found:
        first = found[0].id
        say(
            f"to restore one: git branch NAME refs/testgrove/rescued/{first}\n"
            f"to drop one: testgrove remove --rescued {first}",
            quiet=quiet,
        )
    else:
        say("no rescued commits", quiet=quiet)


@click.command("show")
@one_worktree
@common
@example("testgrove show test-integration-api")
def show_command(*, worktree: str, directory: Path, as_json: bool, quiet: bool) -> None:  # noqa: ARG001 - common options
    """Show all details of a worktree.

    WORKTREE is an id, an identifier or a branch, or the beginning of one if only one begins so. Without it, as with
    ".": the worktree of the current folder.
    """
    found = find(project_in(directory), worktree)
    if as_json:
        print_json(worktree=as_document(found))
    else:
        echo(describe(found))


@click.command("path")
@one_worktree
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
@one_worktree
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
    from testgrove.app.worktrees.user_commands import variables_of

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


class OptionsAfterFirst(click.Command):
    """A command that also accepts its options after the first word; the words after them are passed through.

    Without a first word before "--", it is ".", the worktree of the current folder.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Move the first word behind the options."""
        options = [each for each in self.params if isinstance(each, click.Option)]
        with_value = {name for each in options if not each.is_flag for name in each.opts}
        if args[:1] == ["--"]:
            args = [".", *args]
        end = 1
        while args and not args[0].startswith("-") and end < len(args) and args[end][:1] == "-" and args[end] != "--":
            end += 2 if args[end] in with_value else 1
        return super().parse_args(ctx, [*args[1:end], *args[:1], *args[end:]])


processes_option = click.option(
    "--processes", metavar="NAME,…", help="Start these application processes first, and stop them afterwards."
)


@click.command("exec", cls=OptionsAfterFirst, context_settings={"allow_interspersed_args": False})
@one_worktree
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@processes_option
@common
@example(
    "testgrove exec test-integration-api -- pytest -x tests/integration",
    "testgrove exec test-integration-api --processes api,worker -- pytest tests/integration",
)
def exec_command(
    *, worktree: str, command: tuple[str, ...], processes: str | None, directory: Path, as_json: bool, quiet: bool
) -> int:
    """Run a command inside a worktree, with its environment active and its variables set.

    The exit status is that of the command, 126 if it cannot be executed, or 127 if it is not found.
    With --processes, the processes are ready before it starts. When it ends, they are stopped, and so are processes
    that it leaves.
    """
    words = command[1:] if command[0] == "--" else command
    return _run_in(project_in(directory), worktree, lambda _found: words, processes, quiet=quiet or as_json)


@click.command("shell")
@one_worktree
@processes_option
@common
@example("testgrove shell test-integration-api", "testgrove shell test-integration-api --processes api")
def shell_command(worktree: str, *, processes: str | None, directory: Path, as_json: bool, quiet: bool) -> int:
    """Open your shell ($SHELL) inside a worktree, with its environment active and its variables set.

    The prompt shows the worktree's id. The exit status is that of the shell. With --processes, the processes are ready
    before it starts and are stopped when it ends.
    """
    from testgrove.app.worktrees import user_commands

    return _run_in(project_in(directory), worktree, user_commands.shell_command, processes, quiet=quiet or as_json)


def _run_in(
    project: Project, name: str, command: Callable[[Worktree], Sequence[str]], processes: str | None, *, quiet: bool
) -> int:
    """Become a command inside a worktree; with processes, run it together with them and return its status."""
    from testgrove.app.worktrees.user_commands import replace_by, require_environment

    worktree = find(project, name)
    require_environment(worktree)
    keep_servers(project, worktree)
    if processes is None:
        replace_by(worktree, command(worktree))
    from testgrove.app.exec_with_processes import run_with_processes

    return run_with_processes(
        project, worktree, processes.split(","), command(worktree), say=lambda text: say(text, quiet=quiet)
    )


def keep_servers(project: Project, worktree: Worktree) -> None:
    """Keep the servers of a worktree's databases running while this process, or what takes its place, lives."""
    if worktree.databases:
        from testgrove.app.databases.persistent_services import reach_servers

        if keeper := reach_servers(project, str(worktree.id), say):
            keeper.hand_on()


@contextmanager
def servers_of(project: Project, worktree: Worktree) -> Iterator[None]:
    """Keep the servers of a worktree's databases running during the block."""
    keeper = None
    if worktree.databases:
        from testgrove.app.databases.persistent_services import reach_servers

        keeper = reach_servers(project, str(worktree.id), say)
    with keeper or nullcontext():
        yield


def current(project: Project) -> list[WorktreeRecord]:
    """The project's worktrees, after what dead commands left has been finished."""
    from testgrove.app.lost_records import is_due
    from testgrove.app.worktrees.records import all_of, dead_commands
    from testgrove.system.locks import LockFile

    if is_due(project) or dead_commands(project.store, LockFile(project.locations.locks).is_held):
        with project.holding("testgrove recovery"):
            pass
    return all_of(project)


def find(project: Project, name: str) -> WorktreeRecord:
    """A worktree by id or identifier. Raises PreconditionError."""
    from testgrove.app.worktrees.records import named

    current(project)
    return named(project, name)


def as_document(worktree: Worktree) -> WorktreeDocument:
    """A worktree for --json."""
    return {
        "id": str(worktree.id),
        "purpose": worktree.id.purpose,
        "identifier": worktree.id.identifier,
        "status": worktree.status,
        "path": str(worktree.path),
        "branch": worktree.branch,
        "commit": worktree.commit,
        "created": worktree.created.isoformat(timespec="seconds"),
        "ports": worktree.ports,
        "databases": cast("dict[str, Database]", worktree.databases),
        "python": worktree.python,
        "env_file": worktree.env_file,
        "note": worktree.note,
    }


def describe(worktree: WorktreeRecord) -> str:
    """A worktree in lines of name and value."""
    ports = " ".join(f"{name}={port}" for name, port in worktree.ports.items())
    lines = {
        "id": str(worktree.id),
        "status": str(worktree.status),
        "path": str(worktree.path),
        "directory": worktree.directory,
        "branch": worktree.branch or "(detached)",
        "commit": worktree.commit,
        "python": worktree.python,
        "ports": ports,
        "env file": os.fspath(worktree.path / worktree.env_file),
        "note": worktree.note,
    }
    lines |= {engine: database["url"] for engine, database in worktree.databases.items()}
    return "\n".join(f"{name:9} {value}" for name, value in lines.items() if value)
