"""Collecting: what tests have left in worktrees that stay, copied to where people look for it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from testgrove.app.project import Project
from testgrove.app.worktrees import records
from testgrove.app.worktrees.ownership import outputs_of
from testgrove.core.frozen import frozen
from testgrove.core.worktrees.record import WorktreeRecord
from testgrove.errors import PreconditionError
from testgrove.system.outputs import copy_output


@frozen
class Collected:
    """The files copied from one worktree. files: relative to the folder."""

    worktree: str
    folder: Path
    files: tuple[str, ...]


def collect(project: Project, names: Sequence[str], output: Path) -> list[Collected]:
    """Copy the outputs of worktrees, by default of all, to ``<output>/<id>``; coverage's HTML to ``coverage/`` there.

    Again and again: a copy is replaced by a newer one. What is older than the worktree comes from an earlier one of
    that id, and is moved aside with a number. Raises PreconditionError for a name that no worktree has.
    """
    chosen = [records.named(project, name) for name in names] if names else records.all_of(project)
    there = [each for each in chosen if _is_there(each, asked=bool(names))]
    return [_collect(project, each, output / str(each.id)) for each in there]


def _is_there(worktree: WorktreeRecord, *, asked: bool) -> bool:
    found = worktree.path.is_dir()
    if asked and not found:
        raise PreconditionError("worktree-gone", f"{worktree.path} not found", hint=f"testgrove remove {worktree.id}")
    return found


def _collect(project: Project, worktree: WorktreeRecord, folder: Path) -> Collected:
    tree, since = worktree.path, worktree.created.timestamp()
    copied = []
    for output in outputs_of(project.around(worktree.directory), worktree):
        name = re.sub(r"^htmlcov(?=/|$)", "coverage", output)
        if copy_output(tree / output, folder / name, since=since):
            copied.append(name)
    return Collected(str(worktree.id), folder, tuple(copied))
