"""The stored record of a worktree: what users see, and what testgrove needs to undo and recycle it."""

from __future__ import annotations

from dataclasses import field
from datetime import datetime
from typing import Any, TypedDict

from testgrove.core.frozen import frozen
from testgrove.core.model import Worktree, WorktreeStatus


@frozen
class WorktreeRecord(Worktree):
    """A worktree as the store has it, at one moment; it is made by the store only, and changed by it only.

    project: its project's id. run: the run that it is made for or was left by. ref: what it was made from. parked: when
    a run was done with it. environment: an environment record as JSON. plan: the actions
    that are still to come, as far as that is decided. own_commits:
    commits that testgrove checked out in it. manifest: what set-up and attempts wrote. attempt_from: when the attempt
    began that may be writing in it. directory: where its commands run, relative to its top.
    """

    project: str = ""
    run: str | None = None
    ref: str = ""
    parked: float | None = None
    environment: Any = None
    plan: tuple[str, ...] = ()
    own_commits: tuple[str, ...] = ()
    manifest: str = field(default="", repr=False)  # thousands of lines
    attempt_from: float | None = None
    directory: str = ""


class Changes(TypedDict, total=False):
    """The changeable fields of a worktree's record. Its id and its folder cannot change."""

    status: WorktreeStatus
    branch: str
    commit: str
    created: datetime
    ports: dict[str, int]
    databases: dict[str, dict[str, Any]]
    python: str
    holder: str | None
    note: str
    project: str
    run: str | None
    ref: str
    parked: float | None
    environment: Any
    plan: tuple[str, ...]
    own_commits: tuple[str, ...]
    manifest: str
    attempt_from: float | None
    directory: str
