"""test: the main job."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from testgrove.cli.context import project_in
from testgrove.cli.output import common, echo, example, print_json


class SplitAtDashes(click.Command):
    """A command that keeps what follows ``--`` apart: click would mix it with the words before."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put pytest's arguments aside."""
        at = args.index("--") if "--" in args else len(args)
        ctx.obj = tuple(args[at + 1 :])
        return super().parse_args(ctx, args[:at])


@click.command("test", cls=SplitAtDashes)
@click.argument("suites", nargs=-1, metavar="[SUITE]... [-- PYTEST ARGS]")
@click.option("--ref", "refs", multiple=True, help="Test this commit instead of the working tree. Repeatable.")
@click.option("--python", "pythons", multiple=True, metavar="V", help="Interpreter version. Repeatable.")
@click.option("-j", "--jobs", type=int, metavar="N", help="Cells at once. Default: what CPU and memory carry.")
@common
@click.pass_obj
@example(
    "testgrove test",
    "testgrove test unit integration --python 3.11 --python 3.12",
    "testgrove test --ref main --ref HEAD -- -x -k login",
)
def test_command(
    arguments: tuple[str, ...],
    *,
    suites: tuple[str, ...],
    refs: tuple[str, ...],
    pythons: tuple[str, ...],
    jobs: int | None,
    directory: Path,
    as_json: bool,
    quiet: bool,
) -> int:
    """Run the test suites, each in a worktree of its own, side by side, and report on them as one.

    Without --ref the working tree is tested as it is now: changes and untracked files included, ignored ones not.
    Ctrl-C ends the run with a report; a second one kills.
    """
    from testgrove.app.runs import Request, run_tests
    from testgrove.reports import report_json
    from testgrove.reports.summary import summary
    from testgrove.reports.terminal import view_for

    project = project_in(directory)
    out = sys.stderr if as_json else sys.stdout
    view = view_for(out, quiet=quiet, is_tty=out.isatty())
    finished = run_tests(project, Request(suites, refs, pythons, jobs, arguments), view)
    if as_json:
        print_json(folder=str(finished.folder), **report_json.report(finished.result))
    else:
        echo(summary(finished.result, folder=str(finished.folder), color=out.isatty()))
    return finished.result.exit_status


test_command.__test__ = False  # type: ignore[attr-defined] # pytest would collect it by its name
