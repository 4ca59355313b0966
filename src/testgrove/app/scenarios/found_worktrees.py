"""The state of the scenarios' worktrees, and what a run's log reports of them. Changes nothing."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from testgrove.app.project import Project
from testgrove.core.frozen import frozen
from testgrove.core.model import WorktreeStatus
from testgrove.core.runs.events import AnyEvent, WorktreeChanged
from testgrove.core.scenarios.resolve import PlannedScenario
from testgrove.core.worktrees.record import WorktreeRecord
from testgrove.errors import PreconditionError
from testgrove.system import git
from testgrove.system.environment.record import FOLDER

State = Literal["ours", "adopted", "parked", "gone", "missing", "broken"]


@frozen
class FoundWorktree:
    """The state of a scenario's worktree. detail: why it cannot be used unchanged; empty if it can."""

    name: str
    path: Path
    state: State
    detail: str = ""
    worktree: WorktreeRecord | None = None

    @property
    def ready(self) -> bool:
        """Return whether scenarios can run in it unchanged."""
        return self.state in ("ours", "adopted") and not self.detail


@frozen
class MissingCommits:
    """A ref that a checkout has not all of: its commit, and the commit that the checkout is at."""

    ref: str
    commit: str
    head: str

    def error(self, name: str, path: Path) -> PreconditionError:
        """The error where it stays so."""
        return PreconditionError(
            "other-commit",
            f"worktree '{name}' is at {self.head[:10]} and does not contain {self.ref} ({self.commit[:10]})",
            hint=f"git -C {shlex.quote(str(path))} merge {self.ref}   or --pull-from {self.ref}",
        )


def find_worktree(project: Project, base: Path, name: str) -> FoundWorktree:
    """Return the state of a scenario's worktree. Changes nothing."""
    path = _location(project, base, name)
    known = project.store.worktrees.at(path)
    worktree = known if known is not None and known.project == project.id else None
    if git.is_checkout(project.repository, path):
        return _checkout(name, path, worktree)
    if os.path.lexists(path) and not (path.is_dir() and not any(path.iterdir())):
        return FoundWorktree(
            name, path, "broken", f"{path} already exists and is not a worktree of this repository", worktree
        )
    if worktree is not None:
        return FoundWorktree(name, path, "gone", f"{path} not found", worktree)
    return FoundWorktree(name, path, "missing", f"{path} not found")


def _location(project: Project, base: Path, name: str) -> Path:
    """The folder of a worktree. One that is not in the configured root can be where the documents, and the default
    root, have it: ``git worktree add ../<repository>-worktrees/NAME``."""
    path, beside = base / name, project.default_root / name
    if base == project.root and not os.path.lexists(path) and git.is_checkout(project.repository, beside):
        return beside
    return path


def _checkout(name: str, path: Path, worktree: WorktreeRecord | None) -> FoundWorktree:
    environment = (path / FOLDER).exists()
    if worktree is None:
        return FoundWorktree(name, path, "adopted", "" if environment else "it has no .venv")
    if worktree.status == WorktreeStatus.PARKED:
        return FoundWorktree(name, path, "parked", "it is parked for recycling", worktree)
    detail = "its .venv is missing" if worktree.python and not environment else ""
    if worktree.status == WorktreeStatus.READY and worktree.plan:
        detail = "its sync is not finished"
    return FoundWorktree(name, path, "ours", detail, worktree)


def wanted(scenarios: Sequence[PlannedScenario]) -> tuple[str, str]:
    """The ref and the interpreter that a worktree's scenarios ask for; empty where none does."""
    refs = [each.ref for each in scenarios if each.ref]
    pythons = [each.python for each in scenarios if each.python]
    return (refs[0] if refs else ""), (pythons[0] if pythons else "")


def would(found: FoundWorktree, scenarios: Sequence[PlannedScenario]) -> str:
    """Return what `--setup-worktrees` would do to one that is not ready."""
    if found.state == "broken":
        return ""
    if found.state == "adopted":
        return "create its environment"
    ref, python = wanted(scenarios)
    return (
        f"create it at {ref}"
        if ref
        else f"create it on feature/test-{found.name}" + (f", Python {python}" * bool(python))
    )


def unknown_worktree(found: FoundWorktree) -> PreconditionError:
    """The error for a worktree that is not there, or not whole."""
    makes = "--setup-worktrees creates it; or: git worktree add " + str(found.path)
    return PreconditionError(
        "no-such-worktree",
        f"worktree '{found.name}': {found.detail}",
        hint="--setup-worktrees repairs it" if found.state == "ours" else makes,
        worktree=found.name,
    )


def created_by(events: Sequence[AnyEvent]) -> list[str]:
    """The names of the worktrees that a run has created and not removed, from its events."""
    there: dict[str, None] = {}
    for event in events:
        if isinstance(event, WorktreeChanged):
            if event.action == "created":
                there[event.worktree] = None
            elif event.action == "removed":
                there.pop(event.worktree, None)
    return list(there)
