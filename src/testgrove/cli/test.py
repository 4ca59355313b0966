"""test: the main job."""

from __future__ import annotations

import shlex
import sys
from functools import partial
from pathlib import Path
from typing import TypedDict, Unpack

import click

from testgrove.cli.arguments import complete_suites
from testgrove.cli.context import project_in
from testgrove.cli.output import common, echo, example, leak_options, no_template_cache, print_json, say
from testgrove.core.frozen import frozen
from testgrove.core.runs.leaks import LeakChecks
from testgrove.errors import UsageError


@frozen
class CommandLine:
    """pytest: what follows ``--``. again: the whole command, as it can be typed to repeat the run."""

    pytest: tuple[str, ...]
    again: str


class TestOptions(TypedDict):
    """The options that say what to run: fields of app.runs.run.RunRequest."""

    suites: tuple[str, ...]
    refs: tuple[str, ...]
    pythons: tuple[str, ...]
    sets: tuple[str, ...]
    seed: int | None
    cov: bool
    keep_failed: bool
    here: bool
    fail_on_leak: bool
    leak_checks: LeakChecks
    jobs: int | None


class TestCommand(click.Command):
    """A command that keeps what follows ``--`` apart (click would mix it with the words before) and chooses a seed."""

    __test__ = False  # the name begins with "Test", and pytest would try to collect it

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put pytest's arguments aside."""
        import secrets

        at = args.index("--") if "--" in args else len(args)
        # Not an option whose value may be missing: click would take a suite for the seed.
        words = [
            f"--random-order={secrets.randbelow(2**32)}" if word == "--random-order" else word for word in args[:at]
        ]
        ctx.obj = CommandLine(tuple(args[at + 1 :]), shlex.join(["testgrove", "test", *words, *args[at:]]))
        try:
            return super().parse_args(ctx, [*words])  # click empties its list
        except click.NoSuchOption as error:
            again = shlex.join([*(word for word in words if word != error.option_name), "--", error.option_name])
            message = f"{error.message} For an option of pytest: testgrove test {again}"
            raise click.NoSuchOption(error.option_name, message, error.possibilities, error.ctx) from None


@click.command("test", cls=TestCommand)
@click.argument("suites", nargs=-1, metavar="[SUITE | TEST]... [-- PYTEST ARGS]", shell_complete=complete_suites)
@click.option("-k", "keyword", metavar="EXPR", help="Run only the tests that match, as `pytest -k` does.")
@click.option("--ref", "refs", multiple=True, help="Test this ref instead of the working tree. Repeatable.")
@click.option("--python", "pythons", multiple=True, metavar="V", help="Python version. Repeatable.")
@click.option(
    "--deps",
    "sets",
    multiple=True,
    metavar="SET",
    help="Dependency set: lowest, highest, locked, or one from the settings. Repeatable.",
)
@click.option(
    "--random-order",
    "seed",
    type=click.IntRange(0, 2**32 - 1),
    metavar="[=SEED]",
    help="Shuffle the tests. Every report contains the seed, which repeats the order.",
)
@click.option("--cov", is_flag=True, help="Measure coverage, combined from all cells.")
@click.option(
    "--keep-failed",
    is_flag=True,
    help="Keep the worktrees of failed cells (at most 8) and the databases of failed tests (at most 20), for a week.",
)
@click.option("--here", is_flag=True, help="Run in this checkout and its environment, one suite after the other.")
@leak_options
@click.option("--verbose", "-v", is_flag=True, help="Show the output of suites live, each line with its cell.")
@click.option(
    "-j",
    "--jobs",
    "--workers",
    "jobs",
    type=int,
    metavar="N",
    help="Cells at once. Default: based on CPU and memory.",
)
@no_template_cache
@common
@click.pass_obj
@example(
    "testgrove test",
    "testgrove test unit integration --python 3.11 --python 3.12",
    "testgrove test unit --python 3.9 --python 3.13 --deps lowest --deps highest",
    "testgrove test tests/unit/test_cart.py::test_total",
    "testgrove test -k login",
    "testgrove test --ref main --ref HEAD -- -x",
    "testgrove test unit --random-order --cov",
    "testgrove test unit --here -v -- -x",
    "testgrove test integration --fail-on-leak --leak-checks fast",
)
def test_command(
    words: CommandLine,
    *,
    keyword: str | None,
    verbose: bool,
    directory: Path,
    as_json: bool,
    quiet: bool,
    **options: Unpack[TestOptions],
) -> int:
    """Run the test suites in parallel, each in its own worktree, with one report.

    A cell is one combination of suite, ref, Python version and dependency set; each runs in its own worktree.

    Without --ref, the working tree is tested as it is now: with changes and untracked files, without ignored ones.
    With --here, suites run in the current checkout, with its .venv or else the active environment; testgrove writes
    only test-artifacts. Ctrl-C stops the run and writes the report; a second Ctrl-C kills.
    """
    from testgrove.app.runs.run import RunRequest, run_tests
    from testgrove.reports.terminal import view_for

    if options["here"]:
        _refuse_with_here(options)
    project = project_in(directory)
    out = sys.stderr if as_json else sys.stdout
    output = partial(read_from, project.artifacts) if verbose else None
    view = view_for(out, quiet=quiet, is_tty=out.isatty(), output=output)
    arguments = (*words.pytest, *(("-k", keyword) if keyword else ()))
    finished = run_tests(project, RunRequest(arguments=arguments, again=words.again, **options), view)
    for note in finished.notes:  # the last lines are the summary's
        say(f"note: {note}", quiet=quiet)
    if as_json:
        from testgrove.reports import report_json

        print_json(folder=str(finished.folder), **report_json.report(finished.result))
    else:
        from testgrove.reports.summary import summary

        echo(summary(finished.result, folder=str(finished.folder), color=out.isatty()), styled=True)
    return finished.result.exit_status


def read_from(artifacts: Path, run: str, log: str, offset: int) -> bytes:
    """Return a run's log file from an offset on; nothing while it does not exist."""
    try:
        with (artifacts / run / log).open("rb") as file:
            file.seek(offset)
            return file.read()
    except FileNotFoundError:
        return b""


def _refuse_with_here(options: TestOptions) -> None:
    others = {
        "--ref": options["refs"],
        "--python": options["pythons"],
        "--deps": options["sets"],
        "-j": options["jobs"],
        "--keep-failed": options["keep_failed"],
    }
    for option, value in others.items():
        if value:
            hint = f"remove --here or {option}; without --here, each cell gets its own worktree"
            raise UsageError("here-alone", f"--here cannot be combined with {option}", hint=hint)


test_command.__test__ = False  # pytest would collect it by its name
