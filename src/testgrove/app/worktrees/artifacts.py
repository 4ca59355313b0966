"""Collecting: what tests have left in worktrees that stay, copied to where people look for it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from testgrove.app.project import Project
from testgrove.app.worktrees import records
from testgrove.app.worktrees.ownership import outputs_of
from testgrove.errors import PreconditionError
from testgrove.system.outputs import copy_output
from testgrove.system.store import Row


@dataclass(frozen=True)
class Collected:
    """What was copied from one worktree. files: relative to the folder."""

    worktree: str
    folder: Path
    files: tuple[str, ...]


def collect(project: Project, names: Sequence[str], output: Path) -> list[Collected]:
    """Copy the outputs of worktrees, by default of all, to ``<output>/<id>``; coverage's HTML to ``coverage/`` there.

    Again and again: a copy is replaced by a newer one. What is older than the worktree comes from an earlier one of
    that id, and is moved aside with a number. Raises PreconditionError for a name that no worktree has.
    """
    rows = [records.row_of(project, name) for name in names] if names else records.rows_of(project)
    return [_collect(project, row, output / row["id"]) for row in rows if _is_there(row, asked=bool(names))]


def _is_there(row: Row, *, asked: bool) -> bool:
    found = Path(row["path"]).is_dir()
    if asked and not found:
        raise PreconditionError(
            "worktree-gone", f"{row['path']} is gone", hint=f"testgrove remove {row['id']}   to forget it"
        )
    return found


def _collect(project: Project, row: Row, folder: Path) -> Collected:
    tree, since = Path(row["path"]), datetime.fromisoformat(row["created"]).timestamp()
    copied = []
    for output in outputs_of(project, row):
        place = re.sub(r"^htmlcov(?=/|$)", "coverage", output)
        if copy_output(tree / output, folder / place, since=since):
            copied.append(place)
    return Collected(row["id"], folder, tuple(copied))
