"""coordinate: a graph of test scenarios across worktrees."""

from __future__ import annotations

import errno
import os
import shlex
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from testgrove.cli.arguments import a_number, complete_runs
from testgrove.cli.context import project_in
from testgrove.cli.output import common, echo, example, leak_options, print_json, progress, say
from testgrove.cli.test import read_from
from testgrove.errors import UsageError

if TYPE_CHECKING:
    from testgrove.app.project import Project
    from testgrove.app.runs.run import FinishedRun
    from testgrove.app.scenarios.coordinate import CoordinateRequest, Preview


class CoordinateCommand(click.Command):
    """A command that keeps its own words, as they can be typed to repeat the run."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Remember the words."""
        ctx.obj = shlex.join(["testgrove", "coordinate", *args])
        return super().parse_args(ctx, args)


@click.command("coordinate", cls=CoordinateCommand)
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option(
    "--filter-tag", "tags", multiple=True, metavar="TAG", help="Only scenarios with this tag. Repeatable: any of them."
)
@click.option(
    "--filter-worktree",
    "worktrees",
    multiple=True,
    metavar="NAME",
    help="Only scenarios in this worktree. Repeatable: any of them.",
)
@click.option(
    "-k",
    "patterns",
    multiple=True,
    metavar="PATTERN",
    help="Only scenarios whose name contains PATTERN or matches it as a glob.",
)
@click.option("--no-deps", is_flag=True, help="Do not run the dependencies of the selected scenarios.")
@click.option("--only-setup", is_flag=True, help="With --setup-worktrees: set up the worktrees, but run nothing.")
@click.option("--dry-run", is_flag=True, help="Show order, worktrees, resources and duration; run nothing.")
@click.option(
    "-j",
    "--jobs",
    "--workers",
    "jobs",
    type=int,
    metavar="N",
    help="Scenarios at once. Default: based on CPU and memory.",
)
@click.option("--fail-fast", is_flag=True, help="After the first failure, run only teardown.")
@click.option("--max-fail", type=click.IntRange(min=1), metavar="N", help="After N failures, run only teardown.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    callback=a_number,
    metavar="SECONDS",
    help="Interrupt the whole run after SECONDS.",
)
@click.option(
    "--base-path", "base", type=click.Path(path_type=Path), metavar="DIR", help="The folder that holds the worktrees."
)
@click.option("--setup-worktrees", is_flag=True, help="Create missing worktrees and repair the others.")
@click.option("--pull-coordinator", is_flag=True, help="Merge the main checkout's branch into each worktree first.")
@click.option("--pull-from", metavar="REF", help="Merge REF instead. On a conflict, the worktree stays as it was.")
@click.option("--cleanup", is_flag=True, help="After the run, remove the worktrees and branches that it created.")
@leak_options
@click.option(
    "--report", type=click.Path(path_type=Path), metavar="FILE", help="Write the documented JSON report to FILE."
)
@click.option(
    "--resume",
    metavar="RUN",
    shell_complete=complete_runs,
    help="Continue an interrupted run; finished scenarios are not run again.",
)
@click.option(
    "--rerun", type=click.Choice(["failed"]), help="Run only what failed in the newest run, or in the run of --resume."
)
@click.option(
    "--output",
    type=click.Choice(["stream"]),
    help="Show the output of scenarios live, each line with its scenario.",
)
@common
@click.pass_obj
@example(
    "testgrove coordinate",
    "testgrove coordinate scenarios.json --dry-run",
    "testgrove coordinate --setup-worktrees --pull-coordinator --report integration_report.json",
    "testgrove coordinate --filter-tag critical --filter-tag parallel --workers 8 --fail-fast",
    "testgrove coordinate --fail-on-leak",
    "testgrove coordinate --rerun failed",
)
def coordinate_command(
    again: str, *, file: Path | None, directory: Path, as_json: bool, quiet: bool, **given: Any
) -> int:
    """Run the scenarios of FILE as a graph: each in its worktree, after its dependencies.

    The default FILE is scenarios.json in this folder, else tests/integration/scenarios.json. A scenario whose
    dependency does not pass is skipped. Ctrl-C stops the run and writes the report; a second Ctrl-C kills.
    """
    from testgrove.app.scenarios.coordinate import coordinate, preview

    project = project_in(directory)
    request = _request(project, directory, file, again, given)
    if given["dry_run"]:
        _show(preview(project, request), as_json=as_json)
        return 0
    if given["only_setup"]:
        return _set_up(project, request, as_json=as_json, quiet=quiet)
    out = sys.stderr if as_json else sys.stdout
    if given["report"] is not None:
        _make_way(given["report"].expanduser())
    finished = coordinate(project, request, _view(project, out, quiet=quiet, output=given["output"]))
    return _report(finished, given["report"], as_json=as_json, quiet=quiet, color=out.isatty())


def _request(
    project: Project, directory: Path, file: Path | None, again: str, given: dict[str, Any]
) -> CoordinateRequest:
    from testgrove.app.scenarios.coordinate import CoordinateRequest, find_file, main_branch
    from testgrove.app.scenarios.resume import ResumedRun, earlier
    from testgrove.app.scenarios.worktrees import WorktreePreparation
    from testgrove.cli.worktrees import current
    from testgrove.core.scenarios.resolve import Filters

    before = ResumedRun()
    for option in ("resume", "pull_from"):
        if given[option] == "":  # a variable that is not set
            name = f"--{option.replace('_', '-')}"
            raise UsageError("empty-option", f"{name} must not be empty", hint=f"set its value, or remove {name}")
    if given["resume"] or given["rerun"]:
        current(project)  # a run that was killed is closed first
        before = earlier(project, given["resume"] or "latest", failed_only=given["rerun"] == "failed")
        file = file or Path(before.source)
    if given["fail_fast"] and given["max_fail"]:
        raise UsageError(
            "fail-fast-alone",
            "--fail-fast cannot be combined with --max-fail",
            hint="remove one of them; --fail-fast means --max-fail 1",
        )
    pull = given["pull_from"] or (main_branch(project) if given["pull_coordinator"] else "")
    base = given["base"] or (Path(before.base) if before.base else None)
    return CoordinateRequest(
        find_file(directory, file),
        base,
        Filters(given["tags"], given["worktrees"], given["patterns"], dependencies=not given["no_deps"]),
        given["jobs"],
        1 if given["fail_fast"] else given["max_fail"],
        given["timeout"],
        WorktreePreparation(setup=given["setup_worktrees"], pull=pull, cleanup=given["cleanup"]),
        again,
        before,
        given["fail_on_leak"],
        given["leak_checks"],
    )


def _view(project: Project, out: Any, *, quiet: bool, output: str | None) -> Any:
    from testgrove.reports.terminal import view_for

    read = partial(read_from, project.artifacts) if output == "stream" else None
    return view_for(out, quiet=quiet, is_tty=out.isatty(), output=read)


def _show(seen: Preview, *, as_json: bool) -> None:
    from testgrove.app.scenarios.found_worktrees import would
    from testgrove.reports.preview import as_lines, document

    worktrees = {
        each.name: {
            "path": str(each.path),
            "state": each.state,
            "ready": each.ready,
            "detail": each.detail,
            "would": would(each, seen.plan.worktrees[each.name]),
        }
        for each in seen.worktrees
    }
    found = document(seen.plan, seen.forecast, jobs=seen.jobs, base=str(seen.base), worktrees=worktrees)
    if as_json:
        print_json(**found)
    else:
        echo("\n".join(as_lines(found)))


def _set_up(project: Project, request: CoordinateRequest, *, as_json: bool, quiet: bool) -> int:
    from testgrove.app.scenarios.coordinate import set_up

    if not request.preparation.setup:
        raise UsageError("only-setup", "--only-setup requires --setup-worktrees", hint="add --setup-worktrees")
    done = set_up(project, request, progress(quiet=quiet or as_json))
    if as_json:
        print_json(worktrees=done)
    else:
        echo("\n".join(": ".join(filter(None, [name, at["action"], at["detail"]])) for name, at in done.items()))
    return 0


def _report(finished: FinishedRun, target: Path | None, *, as_json: bool, quiet: bool, color: bool) -> int:
    from testgrove.reports import coordinator_json, report_json
    from testgrove.reports.summary import summary
    from testgrove.system.files import atomic_write

    result = finished.result
    for note in finished.notes:  # the last lines are the summary's
        say(f"note: {note}", quiet=quiet)
    if as_json:
        print_json(folder=str(finished.folder), **report_json.report(result))
    else:
        echo(summary(result, folder=str(finished.folder), color=color), styled=True)
    if target is not None:
        atomic_write(target.expanduser().absolute(), coordinator_json.render(result))
        say(f"report: {target}", quiet=quiet)
    return result.exit_status


def _make_way(report: Path) -> None:
    """See to it, before anything runs, that a report can be written there: its folder is made."""
    from testgrove.system.files import explained

    with explained("write the report", report):
        if report.parent.is_file():
            raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        report.parent.mkdir(parents=True, exist_ok=True)
        if report.is_dir():
            raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not os.access(report.parent, os.W_OK):
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
