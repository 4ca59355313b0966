"""ports: list, check, release, reassign."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from testgrove.cli.arguments import complete_worktrees, one_worktree, several_worktrees
from testgrove.cli.context import project_in
from testgrove.cli.groups import NearMatches
from testgrove.cli.output import common, echo, example, print_json, say
from testgrove.cli.table import print_table
from testgrove.cli.worktrees import current

if TYPE_CHECKING:
    from testgrove.app.worktrees.ports import CheckedPort
    from testgrove.system.listeners import Listener


@click.group("ports", cls=NearMatches)
@example(
    "testgrove ports list",
    "testgrove ports check test-integration-api",
    "testgrove ports reassign test-integration-api",
)
def ports_command() -> None:
    """Ports of worktrees: list, check, release, reassign."""


@ports_command.command("list")
@common
@example("testgrove ports list")
def list_command(*, directory: Path, as_json: bool, quiet: bool) -> None:
    """List the leased ports of all projects: number, name, holder, project."""
    from testgrove.app.worktrees.ports import held_ports

    project = project_in(directory)
    current(project)
    found = held_ports(project)
    if as_json:
        print_json(ports=[vars(each) for each in found])
        return
    columns = ["port", "name", "holder", "project"]
    print_table(columns, [[str(each.port), each.name, each.holder, str(each.project)] for each in found])
    if not found:
        say("no leased ports; to lease some: testgrove create … --ports", quiet=quiet)


@ports_command.command("check")
@click.argument("names", nargs=-1, metavar="[WORKTREE|PORT]...", shell_complete=complete_worktrees)
@common
@example("testgrove ports check", "testgrove ports check test-integration-api", "testgrove ports check 8001")
def check_command(*, names: tuple[str, ...], directory: Path, as_json: bool, quiet: bool) -> int:
    """Show which processes listen on ports, and how to stop them. Default: the ports of this project's worktrees.

    The exit status is 3 if a process outside a worktree listens on one of its ports.
    """
    from testgrove.app.worktrees.ports import check

    project = project_in(directory)
    current(project)
    found = check(project, names)
    if as_json:
        print_json(ports=[_document(each) for each in found])
    else:
        for each in found:
            _show(each)
    if not found:
        say("no worktree has ports", quiet=quiet)
    return 3 if any(each.foreign_listeners for each in found if each.worktree) else 0


def _show(checked: CheckedPort) -> None:
    owner = f"{checked.name}  {checked.worktree.id}" if checked.worktree else "not leased"
    for listener in checked.listeners:
        echo(f"{checked.port}  {owner}  {listener} listens, {_where(checked, listener)}; to stop it: {listener.ending}")
    if not checked.listeners:
        echo(f"{checked.port}  {owner}  free")


def _where(checked: CheckedPort, listener: Listener) -> str:
    if checked.worktree is None:
        return "not of this project"
    return "in the worktree" if checked.is_ours(listener) else "outside the worktree"


def _document(checked: CheckedPort) -> dict[str, Any]:
    return {
        "port": checked.port,
        "name": checked.name,
        "worktree": str(checked.worktree.id) if checked.worktree else "",
        "listeners": [
            {
                "pid": each.pid,
                "user": each.uid,
                "command": each.command,
                "in_worktree": checked.is_ours(each),
                "end": each.ending,
            }
            for each in checked.listeners
        ],
    }


@ports_command.command("release")
@several_worktrees
@common
@example("testgrove ports release test-integration-api")
def release_command(*, worktrees: tuple[str, ...], directory: Path, as_json: bool, quiet: bool) -> None:
    """Release ports on which no process listens, and remove them from the worktree's env file and metadata."""
    from testgrove.app.worktrees.ports import release

    project = project_in(directory)
    gone: dict[str, tuple[int, ...]] = {}
    with project.holding("testgrove ports release") as holder:
        for name in dict.fromkeys(worktrees):
            gone[name] = release(project, holder, name)
            numbers = " ".join(map(str, gone[name]))
            say(f"released {numbers} of {name}" if numbers else f"{name} has no ports", quiet=quiet)
    if as_json:
        print_json(released=gone)


@ports_command.command("reassign")
@one_worktree
@common
@example("testgrove ports reassign test-integration-api")
def reassign_command(*, worktree: str, directory: Path, as_json: bool, quiet: bool) -> None:
    """Lease new ports for a worktree, and write them to its env file and metadata."""
    from testgrove.app.worktrees.ports import reassign

    project = project_in(directory)
    with project.holding("testgrove ports reassign") as holder:
        ports, kept = reassign(project, holder, worktree)
    for name in kept:
        say(f"note: kept your edited {name} in the env file", quiet=quiet)
    if as_json:
        print_json(ports=ports)
        return
    echo("\n".join(f"{name}={port}" for name, port in ports.items()))
    say("reload the env file and restart the processes that listen", quiet=quiet)
