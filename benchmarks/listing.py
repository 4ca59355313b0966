"""What `testgrove list` costs with fifty worktrees, compared with a Python that does nothing.

The third candidate imports what any such command of a Python program needs: click, SQLite, a way to start git.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks.grove import Grove
from benchmarks.projects import environment, made_up
from benchmarks.timing import Sample, timed

NOTHING, LIST, IMPORTS = "python -c pass", "testgrove list", "python, imports alone"
WORKTREES = 50
_NEEDED = "import click, sqlite3, subprocess, json, hashlib"


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
        IMPORTS: lambda: timed([sys.executable, "-c", _NEEDED], cwd=project, env=python),
    }
