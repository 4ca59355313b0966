"""Clean-up: which worktrees are old, or merged, and what keeps one of them; their removal in bulk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

from testgrove.app.holder import Holder
from testgrove.app.isolation import isolated
from testgrove.app.project import Project
from testgrove.app.worktrees import records
from testgrove.app.worktrees.ownership import examine, require_no_mounts
from testgrove.app.worktrees.removal import RemovalOptions, remove
from testgrove.core.frozen import frozen
from testgrove.core.model import WorktreeStatus
from testgrove.core.worktrees.record import WorktreeRecord
from testgrove.errors import TestgroveError
from testgrove.system import git
from testgrove.system.undeletable import require_deletable


@frozen
class CleanupCandidate:
    """A worktree that a clean-up would remove, or skips. why: the reason it is skipped, or empty."""

    id: str
    age_hours: float
    why: str = ""


def cleanup_candidates(project: Project, max_age_hours: float, *, merged: bool = False) -> list[CleanupCandidate]:
    """Return what a clean-up would remove now: test worktrees, and parked ones, older than so many hours.

    merged: only those whose commit the main branch has. Raises PreconditionError where there is no main branch.
    """
    found = []
    targets = git.main_commits(project.repository) if merged else ()
    for worktree in records.all_of(project):
        age = datetime.now(UTC) - worktree.created
        of_a_run = worktree.status == WorktreeStatus.PARKED or records.is_kept(worktree)
        if not (of_a_run or worktree.id.purpose.startswith("test-")) or age < timedelta(hours=max_age_hours):
            continue
        if merged and not _is_merged(project, worktree, targets):
            continue
        found.append(CleanupCandidate(str(worktree.id), age.total_seconds() / 3600, why_kept(project, worktree)))
    return found


def _is_merged(project: Project, worktree: WorktreeRecord, targets: Sequence[str]) -> bool:
    """Return whether one of the commits has all that a worktree has committed. One that is broken has nothing to
    merge."""
    try:
        commit, _ = git.head_of(worktree.path)
    except TestgroveError:
        commit = worktree.commit
    return any(git.is_ancestor(project.repository.main, commit, target) for target in targets)


def why_kept(project: Project, worktree: WorktreeRecord) -> str:
    """Why bulk removal would leave a worktree; empty where it would remove it."""
    if worktree.holder is not None:
        return f"is {worktree.status}"
    try:
        require_no_mounts(worktree, "removed")
        require_deletable(worktree.path, f"worktree {worktree.id} cannot be removed")
    except TestgroveError as error:
        return error.message
    failures: list[TestgroveError] = []
    with isolated(f"examine {worktree.id}", failures.append):
        findings = examine(project.around(worktree.directory), worktree)
        return findings.summary(rescuing=True) if findings.users else ""
    return f"examination failed: {failures[0].message}"


def remove_many(
    project: Project,
    holder: Holder,
    ids: Sequence[str],
    on_done: Callable[[str, TestgroveError | None, str], None],
) -> None:
    """Remove worktrees one after another. on_done: called for each, with the error if it stays, and a note.

    Commits that came from a deleted ref are kept under another ref; the note names it.
    """
    for name in ids:
        with isolated(f"remove {name}", lambda error, name=name: on_done(name, error, "")):  # type: ignore[misc]
            removed = remove(project, holder, name, RemovalOptions(bulk=True))
            on_done(name, None, removed.note)
