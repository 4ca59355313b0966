"""This version beside another one, in one run: `python -m benchmarks.versions CLONE [--rounds N]`.

CLONE is a checkout of the other version with its environment in `.venv`. Both do the same in projects of their own:
`list` with many worktrees, `--help`, a worktree that is created or recycled for a suite with a PostgreSQL, a cell
without services, and hand-outs of fresh databases. Two floors say what is possible for `list` and for the cell (see
benchmarks.floors). Ratios are medians; with `chrt -f 5` in front, other work on the machine hardly matters.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from benchmarks import floors
from benchmarks.__main__ import working_folder
from benchmarks.grove import Grove
from benchmarks.listing import NOTHING, OVER_FLOOR, WORKTREES
from benchmarks.overhead import activated, over_the_floor
from benchmarks.projects import HERE, environment, made_up
from benchmarks.results import Comparison, Result, machine
from benchmarks.timing import Sample, in_turn, ratio, timed
from testgrove.services.engines.postgres.binaries import find_postgres

NOW, BEFORE = "now", "before"
LIST, HELP, CREATED, RECYCLED, CELL, HAND_OUT = "list", "--help", "created", "recycled", "cell", "hand-out"
BARE = "bare pytest"
_BARE = ["pytest", "-q", "tests/test_one.py"]
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
        tree = self._tree()
        return timed(_BARE, cwd=tree, env=activated(tree))

    def floor(self, work: Path) -> Callable[[], Sample]:
        """The floor of the cell."""
        tree = self._tree()
        return floors.cell(work, tree, _BARE, activated(tree))

    def _tree(self) -> Path:
        return Path(self.grove.worktrees(self.project)["test-unit-tree"])

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
    candidates: dict[str, Callable[[], Sample]] = {}
    versions = {name: Version(_folder(work, name), top) for name, top in ((BEFORE, other), (NOW, HERE))}
    found = {name: version.candidates() for name, version in versions.items()}
    for what in found[NOW]:
        candidates |= {f"{what}, {name}": found[name][what] for name in versions}
    now, python = versions[NOW], environment()
    candidates[BARE] = now.bare
    candidates[NOTHING] = partial(timed, [sys.executable, "-c", "pass"], cwd=now.many, env=python)
    candidates[floors.LISTING] = floors.listing(work, now.many)
    candidates[floors.CELL] = now.floor(work)
    result = Result(f"this version and {other.name}", in_turn(candidates, rounds))
    for version in versions.values():
        version.clean_up()
    for what in found[NOW]:
        figures = ratio(result.seconds(f"{what}, {NOW}"), result.seconds(f"{what}, {BEFORE}"))
        result.comparisons.append(Comparison(f"{what}: times before", figures, SLOWER, at_least=False))
    figures = ratio(result.seconds(f"{LIST}, {NOW}"), result.seconds(floors.LISTING))
    result.comparisons.append(Comparison(f"{LIST}: times {floors.LISTING}", figures, OVER_FLOOR, at_least=False))
    over_the_floor(result, f"{CELL}, {NOW}", BARE)
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
