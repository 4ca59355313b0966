"""report: show, merge, open."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from testgrove.cli.arguments import complete_runs
from testgrove.cli.context import project_in
from testgrove.cli.groups import NearMatches
from testgrove.cli.output import common, echo, example, print_json, say
from testgrove.cli.worktrees import current
from testgrove.errors import PreconditionError


@click.group("report", cls=NearMatches)
@example(
    "testgrove report show --slowest 10", "testgrove report merge 20261120-0946 20261120-1102", "testgrove report open"
)
def report_command() -> None:
    """Show, merge or open the reports of runs.

    RUN is a run's id, or the beginning of one. Default: the newest run.
    """


@report_command.command("show")
@click.argument("run", default="latest", metavar="[RUN]", shell_complete=complete_runs)
@click.option("--slowest", "number", type=click.IntRange(min=1), metavar="N", help="Also show the N slowest tests.")
@common
@example("testgrove report show", "testgrove report show 20261120-0946 --slowest 10")
def show_command(*, run: str, number: int | None, directory: Path, as_json: bool, quiet: bool) -> None:
    """Show the summary of a run, computed from its log. The exit status is 0 even if the run failed."""
    from testgrove.app.runs.log_and_reports import read_result
    from testgrove.reports import report_json
    from testgrove.reports.slowest import as_lines, slowest
    from testgrove.reports.summary import summary

    folder = _find(directory, run, quiet=quiet)
    result = read_result(folder)
    tests = slowest(result, number or 0)
    if as_json:
        extra = {"slowest": tests} if number else {}
        print_json(folder=str(folder), **report_json.report(result), **extra)
        return
    echo(result.header)
    echo(summary(result, folder=str(folder), color=sys.stdout.isatty()), styled=True, newline=False)
    if number:
        echo(as_lines(tests) or "no tests\n", newline=False)


@report_command.command("merge")
@click.argument("runs", nargs=-1, required=True, metavar="RUN...", shell_complete=complete_runs)
@click.option("--output", type=click.Path(path_type=Path), metavar="DIR", help="Default: test-artifacts/merged/<id>.")
@common
@example("testgrove report merge 20261120-0946 20261120-1102", "testgrove report merge shard-1 shard-2 --output merged")
def merge_command(*, runs: tuple[str, ...], output: Path | None, directory: Path, as_json: bool, quiet: bool) -> None:
    """Merge several runs into one report: JSON, JUnit, HTML and a log. The exit status is 0 even if a run failed.

    A RUN is a run's id, the beginning of one, or a folder with an events.jsonl, for example from another machine.
    If several runs contain the same cell, the run's id is appended to it.
    """
    from testgrove.app.runs.past import merge_runs
    from testgrove.reports import report_json
    from testgrove.reports.summary import summary

    project = project_in(directory)
    current(project)
    folder, result = merge_runs(project, runs, output and output.absolute(), project.render)
    if as_json:
        print_json(folder=str(folder), **report_json.report(result))
    else:
        say(result.header, quiet=quiet)
        echo(summary(result, folder=str(folder), color=sys.stdout.isatty()), styled=True, newline=False)


@report_command.command("open")
@click.argument("run", default="latest", metavar="[RUN]", shell_complete=complete_runs)
@common
@example("testgrove report open", "testgrove report open 20261120-0946")
def open_command(*, run: str, directory: Path, as_json: bool, quiet: bool) -> None:
    """Print the path of a run's report.html, and open it if there is a browser ($BROWSER, or a desktop)."""
    from testgrove.system.processes.process import open_in_browser

    folder = _find(directory, run, quiet=quiet)
    page = folder / "report.html"
    if not page.is_file():
        raise PreconditionError("no-report", f"{page} not found", hint=f"testgrove report show {folder.name}")
    if as_json:
        print_json(path=str(page))
        return
    echo(str(page))
    open_in_browser(page)


def _find(directory: Path, run: str, *, quiet: bool) -> Path:
    from testgrove.app.runs.past import goes_on, run_folder

    project = project_in(directory)
    current(project)  # a run that was killed gets its report
    folder = run_folder(project, run)
    if goes_on(project, folder):
        say("note: this run is still in progress", quiet=quiet)
    return folder
