"""What `testgrove list` costs with fifty worktrees, compared with a Python that does nothing.

The third candidate is the floor: see benchmarks.floors.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks import floors
from benchmarks.grove import Grove
from benchmarks.projects import environment, made_up
from benchmarks.timing import Sample, timed

NOTHING, LIST = "python -c pass", "testgrove list"
OVER_FLOOR = 1.3  # at most, in times of the floor
WORKTREES = 50


def candidates(work: Path, grove: Grove) -> dict[str, Callable[[], Sample]]:
    """The three, ready to be measured."""
    project = made_up(work / "listing", {"README": "A project.\n"}, "")
    for number in range(WORKTREES):
        words = ("create", "--purpose", "test-unit", "--identifier", f"w{number}", "--branch", "HEAD", "--no-env")
        timed([grove.program, *words], cwd=project, env=grove.env)
    python = environment()
    return {
        LIST: lambda: timed([grove.program, "list"], cwd=project, env=grove.env),
        NOTHING: lambda: timed([sys.executable, "-c", "pass"], cwd=project, env=python),
        floors.LISTING: floors.listing(work, project),
    }
