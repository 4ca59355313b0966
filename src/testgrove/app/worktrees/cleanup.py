"""Clean-up: which worktrees are old, or merged, and what keeps one of them; their removal in bulk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from testgrove.app.holder import Holder
from testgrove.app.isolation import isolated
from testgrove.app.project import Project
from testgrove.app.worktrees import records
from testgrove.app.worktrees.ownership import examine, require_no_mounts
from testgrove.app.worktrees.removal import Way, remove
from testgrove.core.model import WorktreeStatus
from testgrove.errors import TestgroveError
from testgrove.system import git
from testgrove.system.store import Row
from testgrove.system.undeletable import require_deletable


@dataclass(frozen=True)
class Candidate:
    """A worktree that a clean-up would remove, or skips. why: the reason it is skipped, or empty."""

    id: str
    age_hours: float
    why: str = ""


def cleanup_candidates(project: Project, max_age_hours: float, *, merged: bool = False) -> list[Candidate]:
    """What a clean-up would do now: test worktrees, and parked ones, older than so many hours.

    merged: only those whose commit the main branch has. Raises PreconditionError where there is no main branch.
    """
    found = []
    targets = git.main_commits(project.repository) if merged else ()
    for row in records.rows_of(project):
        age = datetime.now(UTC) - datetime.fromisoformat(row["created"])
        test = row["purpose"].startswith("test-") or row["status"] == WorktreeStatus.PARKED or records.is_kept(row)
        if not test or age < timedelta(hours=max_age_hours):
            continue
        if merged and not _is_merged(project, row, targets):
            continue
        found.append(Candidate(row["id"], age.total_seconds() / 3600, why_kept(project, row)))
    return found


def _is_merged(project: Project, row: Row, targets: Sequence[str]) -> bool:
    """Whether one of the commits has all that a worktree has committed. One that is broken has nothing to merge."""
    try:
        commit, _ = git.head_of(Path(row["path"]))
    except TestgroveError:
        commit = row["commit"]
    return any(git.is_ancestor(project.repository.main, commit, target) for target in targets)


def why_kept(project: Project, row: Row) -> str:
    """Why bulk removal would leave a worktree; empty where it would remove it."""
    if row["holder"] is not None:
        return f"is {row['status']}"
    try:
        require_no_mounts(row, "removed")
        require_deletable(Path(row["path"]), f"worktree {row['id']} cannot be removed")
    except TestgroveError as error:
        return error.message
    failures: list[TestgroveError] = []
    with isolated(f"examine {row['id']}", failures.append):
        findings = examine(project, row)
        return findings.summary(rescuing=True) if findings.users else ""
    return f"cannot be examined: {failures[0].message}"


def remove_many(
    project: Project,
    holder: Holder,
    ids: Sequence[str],
    on_done: Callable[[str, TestgroveError | None, str], None],
) -> None:
    """Remove worktrees one after another; on_done is told of each, with the error for one that stays, and a note.

    Commits that came from a ref which is gone are kept under another; the note says so.
    """
    for name in ids:
        with isolated(f"remove {name}", lambda error, name=name: on_done(name, error, "")):  # type: ignore[misc]
            removed = remove(project, holder, name, Way(bulk=True))
            on_done(name, None, removed.note)
