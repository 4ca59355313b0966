"""This version beside another one, in one run: `python -m benchmarks.versions CLONE [--rounds N]`.

CLONE is a checkout of the other version with its environment in `.venv`. Both do the same in projects of their own:
`list` with many worktrees, `--help`, a worktree that is created or recycled for a suite with a PostgreSQL, a cell
without services, and hand-outs of fresh databases. The floor is a minimal click program that asks git and SQLite once,
as `list` must. Ratios are medians; with `chrt -f 5` in front, other work on the machine hardly matters.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from benchmarks.__main__ import working_folder
from benchmarks.grove import Grove
from benchmarks.listing import NOTHING, WORKTREES
from benchmarks.projects import HERE, environment, made_up
from benchmarks.results import Comparison, Result, machine
from benchmarks.timing import Figures, Sample, in_turn, ratio, timed
from testgrove.services.engines.postgres.binaries import find_postgres

NOW, BEFORE = "now", "before"
LIST, HELP, CREATED, RECYCLED, CELL, HAND_OUT = "list", "--help", "created", "recycled", "cell", "hand-out"
BARE, FLOOR = "bare pytest", "click, git and SQLite"
SLOWER = 1.05  # at most, compared with the other version
HAND_OUTS = 100
_SETTINGS = """\
[services.postgres]
migrate = "{psql} -q -v ON_ERROR_STOP=1 -f schema.sql"
inputs = ["schema.sql"]

[suites.ready]
command = "true"
services = ["postgres"]

[suites.unit]
command = "pytest -q tests/test_one.py"

[suites.databases]
command = "pytest -q tests/test_databases.py"
services = ["postgres"]

"""
_FILES = {
    "schema.sql": "CREATE TABLE things (id int);\n",
    "tests/test_one.py": "def test_one():\n    assert True\n",
    "tests/test_databases.py": f"""\
import pytest

@pytest.mark.parametrize("n", range({HAND_OUTS}))
def test_it(database, n):
    assert database.url
""",
}
_FLOOR = """\
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


class Version:
    """One version at work in a project of its own."""

    def __init__(self, work: Path, top: Path) -> None:
        self.grove = Grove(work)
        self.grove.program = str(top / ".venv/bin/testgrove")
        psql = find_postgres().bindir / "psql"
        settings = _SETTINGS.replace("{psql}", str(psql if psql.exists() else "psql"))
        self.project = made_up(work / "project", _FILES, settings)
        self.anew = made_up(work / "anew", _FILES, settings)
        self.many = made_up(work / "many", {"README": "A project.\n"}, "")
        for number in range(WORKTREES):
            words = ("--purpose", "test-unit", "--identifier", f"w{number}", "--branch", "HEAD", "--no-env")
            timed([self.grove.program, "create", *words], cwd=self.many, env=self.grove.env)
        self._test("ready", self.anew)
        for suite in ("unit", "databases"):
            self._test(suite)

    def candidates(self) -> dict[str, Callable[[], Sample]]:
        """What is measured, by its name. Order matters: what is recycled was created before."""
        return {
            LIST: lambda: timed([self.grove.program, "list"], cwd=self.many, env=self.grove.env),
            HELP: lambda: timed([self.grove.program, "--help"], cwd=self.many, env=self.grove.env),
            CREATED: self._created,
            RECYCLED: lambda: self._test("ready", self.anew),
            CELL: lambda: self._test("unit"),
            HAND_OUT: self._hand_outs,
        }

    def bare(self) -> Sample:
        """The cell's pytest in its worktree, without testgrove."""
        tree = self.grove.worktrees(self.project)["test-unit-tree"]
        path = f"{tree}/.venv/bin{os.pathsep}{os.environ['PATH']}"
        env = environment(PATH=path, VIRTUAL_ENV=f"{tree}/.venv")
        return timed(["pytest", "-q", "tests/test_one.py"], cwd=Path(tree), env=env)

    def clean_up(self) -> None:
        """Remove what the runs have left."""
        for project in (self.project, self.anew):
            self.grove.clean_up(project)

    def _test(self, suite: str, project: Path | None = None) -> Sample:
        return timed([self.grove.program, "test", suite], cwd=project or self.project, env=self.grove.env)

    def _created(self) -> Sample:
        self.grove.clean_up(self.anew)
        return self._test("ready", self.anew)

    def _hand_outs(self) -> Sample:
        """The time of one test, without the first, which waits for the server."""
        whole = self._test("databases")
        report = json.loads((self.project / "test-artifacts/latest/report.json").read_text())
        (cell,) = report["cells"]
        durations = sorted(test["duration"] for test in cell["attempts"][-1]["tests"])[:-1]
        return replace(whole, seconds=sum(durations) / len(durations))


def measure(work: Path, other: Path, rounds: int) -> Result:
    """Everything, and how it compares."""
    floor = work / "floor.py"
    floor.write_text(_FLOOR)
    candidates: dict[str, Callable[[], Sample]] = {}
    versions = {name: Version(_folder(work, name), top) for name, top in ((BEFORE, other), (NOW, HERE))}
    found = {name: version.candidates() for name, version in versions.items()}
    for what in found[NOW]:
        candidates |= {f"{what}, {name}": found[name][what] for name in versions}
    now, python = versions[NOW], environment()
    candidates[BARE] = now.bare
    candidates[NOTHING] = partial(timed, [sys.executable, "-c", "pass"], cwd=now.many, env=python)
    candidates[FLOOR] = partial(timed, [sys.executable, str(floor)], cwd=now.many, env=python)
    result = Result(f"this version and {other.name}", in_turn(candidates, rounds))
    for version in versions.values():
        version.clean_up()
    for what in found[NOW]:
        figures = ratio(result.seconds(f"{what}, {NOW}"), result.seconds(f"{what}, {BEFORE}"))
        result.comparisons.append(Comparison(f"{what}: times before", figures, SLOWER, at_least=False))
    for name in (f"{LIST}, {NOW}", FLOOR):
        figures = ratio(result.seconds(name), result.seconds(NOTHING))
        result.comparisons.append(Comparison(f"{name}: times {NOTHING}", figures, 5, at_least=False))
    for name in versions:
        pairs = zip(result.seconds(f"{CELL}, {name}"), result.seconds(BARE), strict=True)
        over = Figures.of([(ours - bare) / bare for ours, bare in pairs])
        text = f"{CELL}, {name}: more than bare pytest, times bare pytest"
        result.comparisons.append(Comparison(text, over, 1, at_least=False))
    return result


def _folder(work: Path, name: str) -> Path:
    """A version's own, with a name that no other has: its memory-backed files have it, too."""
    return work / f"{work.name}-{name}"


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.versions", description=__doc__)
    parser.add_argument("clone", type=Path, help="a checkout of the other version, with .venv")
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    print(machine(), flush=True)
    with working_folder(keep=False) as work:
        folders = [_folder(work, name) for name in (BEFORE, NOW)]
        for folder in folders:
            folder.mkdir()
        try:
            print(measure(work, chosen.clone.resolve(), chosen.rounds).show())
        finally:
            for folder in folders:
                shutil.rmtree(Path("/dev/shm", Grove.scratch_of(folder).name), ignore_errors=True)


if __name__ == "__main__":
    main()
