"""What `testgrove test` costs for one recycled cell without services, beside bare pytest in that worktree."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from benchmarks import floors
from benchmarks.grove import Grove
from benchmarks.projects import environment, made_up
from benchmarks.results import Comparison, Result
from benchmarks.timing import Figures, Sample, above, timed

BARE, GROVE = "bare pytest", "testgrove test"
OVER_FLOOR = 2.5  # at most: time above bare pytest, in times of the floor's
_TEST = "def test_one():\n    assert True\n"
_SETTINGS = '[suites.unit]\ncommand = "pytest -q tests"\n'


def candidates(work: Path, grove: Grove) -> dict[str, Callable[[], Sample]]:
    """The two and the floor, ready to be measured."""
    project = made_up(work / "overhead", {"tests/test_one.py": _TEST}, _SETTINGS)
    argv = [grove.program, "test", "unit"]
    timed(argv, cwd=project, env=grove.env)
    (tree,) = (work / "overhead-worktrees").glob("tree-*")
    bare, command = activated(tree), ["pytest", "-q", "tests"]
    return {
        GROVE: lambda: timed(argv, cwd=project, env=grove.env),
        BARE: lambda: timed(command, cwd=tree, env=bare),
        floors.CELL: floors.cell(work, tree, command, bare),
    }


def activated(tree: Path) -> dict[str, str]:
    """The variables of a shell in which a worktree's environment is active."""
    path = f"{tree}/.venv/bin{os.pathsep}{os.environ['PATH']}"
    return environment(PATH=path, VIRTUAL_ENV=f"{tree}/.venv")


def over_the_floor(result: Result, ours: str, bare: str) -> None:
    """Add how much more than bare pytest a cell and its floor take, and how the two compare."""
    times = {name: above(result.seconds(name), result.seconds(bare)) for name in (ours, floors.CELL)}
    more = {name: Figures.of(values) for name, values in times.items()}
    floor = more[floors.CELL].median
    for name in times:
        text = f"{name}: more than {bare}, times {bare}"
        target = OVER_FLOOR * floor if name == ours else floor
        result.comparisons.append(Comparison(text, more[name], target, at_least=False))
