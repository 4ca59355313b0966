"""testgrove as a benchmark runs it: the installed program, with folders of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from benchmarks.projects import environment


class Grove:
    """program: `testgrove`. env: its environment. cache: what it keeps between runs."""

    def __init__(self, work: Path) -> None:
        self.program = str(Path(sys.executable).with_name("testgrove"))
        self.cache = work / "cache"
        folders = {"STATE": work / "state", "CACHE": self.cache, "SCRATCH": self.scratch_of(work)}
        self.env = environment(**{f"TESTGROVE_{name}_DIR": str(folder) for name, folder in folders.items()})

    @staticmethod
    def scratch_of(work: Path) -> Path:
        """Its scratch folder. Its memory-backed files lie in a folder of that name in /dev/shm."""
        return work / f"{work.name}-s"

    def worktrees(self, project: Path) -> dict[str, str]:
        """The paths of a project's worktrees, by their ids."""
        argv = (self.program, "list", "--json")
        done = subprocess.run(argv, cwd=project, check=True, capture_output=True, env=self.env)
        return {one["id"]: one["path"] for one in json.loads(done.stdout)["worktrees"]}

    def clean_up(self, project: Path) -> None:
        """Remove every parked worktree."""
        argv = (self.program, "cleanup", "--max-age", "0", "--yes")
        subprocess.run(argv, cwd=project, check=True, capture_output=True, env=self.env)
