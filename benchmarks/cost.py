"""The CPU that eight cells cost, two at a time, beside the same pytest runs by hand in ready worktrees."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from benchmarks.grove import Grove
from benchmarks.projects import environment, made_up
from benchmarks.timing import Sample, timed

HAND, GROVE = "pytest by hand", "testgrove test"
CELLS = 8
_TESTS = 100
_TEST = """\
import time
from itertools import count

import pytest


@pytest.mark.parametrize("number", range({tests}))
def test_work(number):
    end = time.process_time() + {seconds}
    for step in count():
        if not step % 1000 and time.process_time() > end:
            break
"""


def candidates(work: Path, grove: Grove, seconds: float) -> dict[str, Callable[[], Sample]]:
    """The two, ready to be measured. seconds: of CPU for each cell's tests."""
    names = [f"part{number}" for number in range(1, CELLS + 1)]
    text = _TEST.format(tests=_TESTS, seconds=seconds / _TESTS)
    files = {f"tests/{name}/test_{name}.py": text for name in names}
    table = '[suites.{0}]\ncommand = "pytest -q tests/{0}"\n'
    project = made_up(work / "cost", files, "park = 8\n" + "".join(map(table.format, names)))
    argv = [grove.program, "test", "-j", "2"]
    # The first run makes the worktrees; nothing is to be learnt from how long it takes.
    timed([*argv, "--", "-k", "10"], cwd=project, env=grove.env)
    trees = grove.worktrees(project)
    lines = [f'(cd "{trees[f"test-{name}-tree"]}" && .venv/bin/pytest -q tests/{name}) &' for name in names]
    by_hand = "".join(f"{one}\n{other}\nwait\n" for one, other in zip(lines[::2], lines[1::2], strict=True))
    bare = environment(PATH=os.environ["PATH"])
    return {
        GROVE: lambda: timed(argv, cwd=project, env=grove.env),
        HAND: lambda: timed(["bash", "-c", by_hand], cwd=project, env=bare),
    }
