"""services list | start | stop | logs: the project's own servers."""

from __future__ import annotations

from pathlib import Path

import click

from testgrove.cli.context import project_in
from testgrove.cli.groups import NearMatches
from testgrove.cli.output import common, echo, example, print_json, say
from testgrove.cli.table import print_table

_LINES = 50


@click.group("services", cls=NearMatches)
@example("testgrove services list", "testgrove services logs postgres-15")
def services_command() -> None:
    """The project's own servers, which hold the databases of worktrees from `create`.

    A keeper process starts a server on the first connection, and stops it ten minutes after the last client has
    disconnected. The data is kept until the last worktree that uses it is removed.
    """


@services_command.command("list")
@common
@example("testgrove services list --json")
def list_services(*, directory: Path, as_json: bool, quiet: bool) -> None:
    """List the servers: name, version, port, state, process."""
    from testgrove.app.databases import persistent_services

    found = persistent_services.list_services(project_in(directory))
    if as_json:
        print_json(services=found)
        return
    rows = []
    for entry in found:
        process = f"pid {entry['pid']}" if entry["pid"] else ""
        problem = f"({entry['problem']})" if entry["problem"] else ""
        rows.append([entry["name"], entry["what"], f"port {entry['port']}", entry["state"], process, problem])
    print_table(["name", "version", "port", "state", "process", "problem"], rows)
    if not found:
        say("no servers: no worktree from `testgrove create` has a database here", quiet=quiet)


@services_command.command("start")
@click.argument("names", nargs=-1)
@common
@example("testgrove services start", "testgrove services start postgres-15")
def start(*, names: tuple[str, ...], directory: Path, as_json: bool, quiet: bool) -> None:
    """Start servers. Default: all. A server whose port is in use gets another one."""
    from testgrove.app.databases import persistent_services

    project = project_in(directory)
    with project.holding("testgrove services start") as holder:
        persistent_services.start_services(project, holder, names, lambda text: say(text, quiet=quiet or as_json))
    _show(directory, as_json=as_json, quiet=quiet)


@services_command.command("stop")
@click.argument("names", nargs=-1)
@common
@example("testgrove services stop")
def stop(*, names: tuple[str, ...], directory: Path, as_json: bool, quiet: bool) -> None:
    """Stop servers cleanly. Default: all, and their keeper.

    A stopped server starts again on the next connection while the keeper runs.
    """
    from testgrove.app.databases import persistent_services
    from testgrove.system.locks import LockFile

    project = project_in(directory)
    persistent_services.stop_services(project, LockFile(project.locations.locks), names)
    _show(directory, as_json=as_json, quiet=quiet)


@services_command.command("logs")
@click.argument("name")
@click.option("-n", "lines", default=_LINES, show_default=True, help="Number of lines to print.")
@common
@example("testgrove services logs postgres-15 -n 200")
def logs(*, name: str, lines: int, directory: Path, as_json: bool, quiet: bool) -> None:  # noqa: ARG001 - common options
    """Print the end of a server's log."""
    from testgrove.app.databases import persistent_services

    path = persistent_services.log_of(project_in(directory), name)
    text = path.read_text(errors="replace") if path.exists() else ""
    kept = text.splitlines()[-lines:] if lines > 0 else []
    if as_json:
        print_json(path=str(path), lines=kept)
    else:
        echo("\n".join(kept))


def _show(directory: Path, *, as_json: bool, quiet: bool) -> None:
    if as_json or not quiet:
        list_services.callback(directory=directory, as_json=as_json, quiet=quiet)  # type: ignore[misc]
