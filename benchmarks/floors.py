"""What is possible: programs that do the least that `testgrove list` and `testgrove test` must do, and nothing else.

`list` is a click program that asks git and SQLite once. A cell is one that also loads msgspec, runs git as often as a
recycled cell does (tests/cli/test_git_processes.py counts), starts the interpreter of the environment once, and runs
the tests under another Python process, which is there to end them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.projects import environment
from benchmarks.timing import Sample, timed

LISTING, CELL = "click, git and SQLite", "click, git and two Pythons"
GIT_PROCESSES = 12
_LISTING = """\
import sqlite3, subprocess
from pathlib import Path
import click

@click.command()
@click.option("--project", type=click.Path(path_type=Path), default=Path())
@click.option("--json", is_flag=True)
def main(project, json):
    subprocess.run(["git", "-C", str(project), "rev-parse", "HEAD"], capture_output=True, check=True)
    for row in sqlite3.connect(":memory:").execute("SELECT 1"):
        click.echo(row)

main()
"""
_CELL = f"""\
import json, sqlite3, subprocess, sys
import click, msgspec

@click.command(context_settings={{"ignore_unknown_options": True}})
@click.argument("command", nargs=-1)
def main(command):
    for row in sqlite3.connect(":memory:").execute("SELECT 1"):
        click.echo(row)
    for _ in range({GIT_PROCESSES}):
        subprocess.run(["git", "ls-files", "-z"], capture_output=True, check=True)
    subprocess.run(["python", "-c", "pass"], check=True)
    run = "import subprocess, sys; sys.exit(subprocess.call(sys.argv[1:]))"
    sys.exit(subprocess.call([sys.executable, "-I", "-S", "-c", run, *command]))

main()
"""


def listing(work: Path, project: Path) -> Callable[[], Sample]:
    """The floor of `list` in a project."""
    return partial(timed, [sys.executable, str(_written(work, "listing", _LISTING))], cwd=project, env=environment())


def cell(work: Path, tree: Path, command: list[str], env: dict[str, str]) -> Callable[[], Sample]:
    """The floor of a cell. tree, env: those of its worktree. command: the bare one."""
    return partial(timed, [sys.executable, str(_written(work, "cell", _CELL)), *command], cwd=tree, env=env)


def _written(work: Path, name: str, text: str) -> Path:
    path = work / f"floor_of_{name}.py"
    path.write_text(text)
    return path
