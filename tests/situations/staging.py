"""Makes many worktrees in one process, through the application: `python staging.py ready|parked NAME…`."""

from __future__ import annotations

import sys
from pathlib import Path

from testgrove.app.composition import open_project
from testgrove.app.worktrees import operations, records
from testgrove.core.model import WorktreeId, WorktreeSpec, WorktreeStatus


def stage(names: list[str], *, parked: bool) -> None:
    """Make a worktree ``test-unit-<name>`` for each name, and park it as a run does."""
    project = open_project(Path.cwd(), lambda *_: None)
    target = operations.target_of(project, "main")
    with project.holding("staging") as holder:
        for name in names:
            spec = WorktreeSpec(WorktreeId("test-unit", name), "main", environment=False)
            operations.create(project, holder, spec, target)
        for name in names if parked else ():
            worktree = records.take(project, holder, records.named(project, f"test-unit-{name}"), WorktreeStatus.READY)
            operations.park(project, holder, worktree, collect_into=project.artifacts / "staging")


if __name__ == "__main__":
    stage(sys.argv[2:], parked=sys.argv[1] == "parked")
