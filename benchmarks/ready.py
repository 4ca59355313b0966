"""Time to a ready worktree: checkout, environment, ports, a migrated database, Redis, env file.

testgrove: from the spawn of `testgrove test` to the moment at which the suite's command runs (the command is `date`);
the interpreter's start, the snapshot of the working tree, the start of a PostgreSQL and a Redis of its own, and the
preflight are in it. The recipes: from the spawn of the shell to its end.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.grove import Grove
from benchmarks.peers import PIP, UV_RECIPE, PeerServer, fill, recipe_environment
from benchmarks.projects import Repository, git
from benchmarks.timing import CandidateError, Sample, timed

CREATED, RECYCLED, COLD = "testgrove, created", "testgrove, recycled", "testgrove, cold"
PIP_NAME, UV_NAME = "pip recipe", "uv recipe"


@dataclass
class Ready:
    """Makes worktrees of one repository ready, in each of the ways."""

    repository: Repository
    grove: Grove
    server: PeerServer
    number: int = 0

    def candidates(self, without: set[str]) -> dict[str, Callable[[], Sample]]:
        """Each way by its name, in the order of a round: what is recycled was created in the same round."""
        ways = {
            COLD: self._cold,
            PIP_NAME: lambda: self._recipe(PIP),
            CREATED: self._created,
            UV_NAME: lambda: self._recipe(UV_RECIPE),
            RECYCLED: self._recycled,
        }
        return {name: way for name, way in ways.items() if name not in without}

    def warm_up(self) -> None:
        """Fill every cache, and make the template that the uv recipe copies."""
        self._created()
        self._recipe(UV_RECIPE.replace("--template=bench_template {strategy}", ""))
        tree = self.repository.path.with_name("template")
        env = recipe_environment(self.server, tree, "bench_template")
        script = fill(UV_RECIPE.replace("--template=bench_template {strategy}", ""), self.repository, self.server)
        migrate = f'export PATH="$PWD/.venv/bin:$PATH" DATABASE_URL="$url"; {self.repository.migrate}\n'
        timed(["bash", "-c", script + migrate], cwd=self.repository.path, env=env)
        git(self.repository.path, "worktree", "remove", "--force", str(tree))

    def _recipe(self, recipe: str) -> Sample:
        self.number += 1
        name = f"peer_{self.number}"
        tree = self.repository.path.with_name(name)
        script = fill(recipe, self.repository, self.server)
        env = recipe_environment(self.server, tree, name)
        sample = timed(["bash", "-c", script], cwd=self.repository.path, env=env)
        git(self.repository.path, "worktree", "remove", "--force", str(tree))
        self.server.client("dropdb", name)
        return sample

    def _cold(self) -> Sample:
        self.grove.clean_up(self.repository.path)
        shutil.rmtree(self.grove.cache)
        return self._recycled()

    def _created(self) -> Sample:
        self.grove.clean_up(self.repository.path)
        return self._recycled()

    def _recycled(self) -> Sample:
        before = time.time()
        whole = timed([self.grove.program, "test", "ready"], cwd=self.repository.path, env=self.grove.env)
        return replace(whole, seconds=_started(self.repository.path) - before)


def _started(path: Path) -> float:
    """When the suite's command ran, by its own clock."""
    logs = list((path / "test-artifacts/latest").glob("*/output.log"))
    if len(logs) != 1:
        raise CandidateError(f"{path}: expected the output of one cell, found {logs}")
    return float(logs[0].read_text())
