"""What `testgrove test` costs for one recycled cell without services, beside bare pytest in that worktree."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from benchmarks.grove import Grove
from benchmarks.projects import environment, made_up
from benchmarks.timing import Sample, timed

BARE, GROVE = "bare pytest", "testgrove test"
_TEST = "def test_one():\n    assert True\n"
_SETTINGS = '[suites.unit]\ncommand = "pytest -q tests"\n'


def candidates(work: Path, grove: Grove) -> dict[str, Callable[[], Sample]]:
    """The two, ready to be measured."""
    project = made_up(work / "overhead", {"tests/test_one.py": _TEST}, _SETTINGS)
    argv = [grove.program, "test", "unit"]
    timed(argv, cwd=project, env=grove.env)
    (tree,) = (work / "overhead-worktrees").glob("tree-*")
    path = f"{tree}/.venv/bin{os.pathsep}{os.environ['PATH']}"
    bare = environment(PATH=path, VIRTUAL_ENV=f"{tree}/.venv")

    return {
        GROVE: lambda: timed(argv, cwd=project, env=grove.env),
        BARE: lambda: timed(["pytest", "-q", "tests"], cwd=tree, env=bare),
    }
