"""What a name of a worktree means: to a person, and to a command that has read it from the records."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from testgrove.app.worktrees import records
from testgrove.core.model import WorktreeId, WorktreeStatus
from testgrove.core.worktrees.record import WorktreeRecord
from testgrove.errors import PreconditionError


def test_an_id_that_is_gone_is_not_the_beginning_of_another(tmp_path: Path):
    """Two clean-ups at once: what the other has removed must not mean `test-unit-tree-2` to this one."""
    record = WorktreeRecord(
        id=WorktreeId("test-unit", "tree-2"), path=tmp_path, status=WorktreeStatus.PARKED, branch="", commit="",
        created=datetime.now(UTC),
    )  # fmt: skip
    worktrees = SimpleNamespace(of_project=lambda _project: [record])
    project: Any = SimpleNamespace(id="p", store=SimpleNamespace(worktrees=worktrees))
    assert records.named(project, "test-unit-tree") is records.with_id(project, "test-unit-tree-2") is record
    with pytest.raises(PreconditionError, match="worktree 'test-unit-tree' not found"):
        records.with_id(project, "test-unit-tree")
