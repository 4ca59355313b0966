"""Git's records of a worktree, apart from its files. They are removed with the worktree, and may be the only
copy."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from pathlib import Path

from testgrove.app.worktrees import records
from testgrove.core.frozen import frozen
from testgrove.core.model import LeaseKind, WorktreeStatus
from testgrove.core.text import printable
from testgrove.core.worktrees import lifecycle
from testgrove.core.worktrees.ownership import METADATA
from testgrove.core.worktrees.record import WorktreeRecord
from testgrove.errors import PreconditionError, TestgroveError
from testgrove.system import git, mounts
from testgrove.system.store import Store


@frozen
class History:
    """lines: what cannot be kept elsewhere. commits: those that no ref holds; a ref of testgrove's can keep them."""

    lines: tuple[str, ...] = ()
    commits: tuple[git.Commit, ...] = ()


def history_of(repository: git.Repository, worktree: WorktreeRecord, submodules: Collection[str] = ()) -> History:
    """Examine git's records of a worktree, also if its folder is missing.

    submodules: those that are checked out. Raises UnavailableError when git fails.
    """
    path, own = worktree.path, worktree.own_commits
    there = git.is_checkout(repository, path)
    lines: list[str] = []
    commits: list[git.Commit] = []
    for record in git.checkout_records(repository, path):
        if git.is_barely_made(record):
            continue
        commits += git.foreign_commits(record, own)
        lines += git.foreign_objects(record)
        if unfinished := git.operation(record):
            lines.append(f"{unfinished} that is not finished")
        lines += git.unpublished_in_submodules(repository, record, path, submodules, own)
        if not there:
            lines += [f"{name} (staged; the folder is missing)" for name in git.staged_files(record)]
        if (reason := git.lock_reason(record)) not in (None, git.LOCK_REASON):
            lines.append(f"a lock: {reason or 'without a reason'} (git worktree unlock {path})")
    return History(tuple(printable(line) for line in lines), tuple(commits))


def unmounted(store: Store, worktree: WorktreeRecord) -> str:
    """The mount point that a worktree was on and that is not mounted now; empty where its folder is not missing."""
    path = worktree.path
    leases = [lease for lease in records.leases_of(store, worktree).all() if lease.kind == LeaseKind.CHECKOUT]
    recorded = leases[0].data.get("mount", "") if leases else ""
    if not recorded or path.is_dir() or Path(recorded) in (mounts.mount_point_of(path), Path("/")):
        return ""
    return f"{recorded}, which holds the worktree's folder, is not mounted"


def described(commit: git.Commit) -> str:
    """A commit in a line for people."""
    return f"commit {commit.sha[:10]} {printable(commit.subject)} (on no branch)"


def is_anothers(repository: git.Repository, worktree: WorktreeRecord) -> bool:
    """Return whether the checkout in a worktree's place was replaced by hand and is not testgrove's.

    Its metadata show this; without metadata, the lock that testgrove sets on each of its checkouts.
    """
    path = worktree.path
    if not git.is_checkout(repository, path):
        return False
    created = worktree.created.strftime("%Y-%m-%dT%H:%M:%SZ")
    try:
        document = json.loads((path / METADATA).read_bytes())
        named = (document["id"], document["created"])
    except (OSError, ValueError, LookupError, TypeError):
        return all(git.lock_reason(record) != git.LOCK_REASON for record in git.checkout_records(repository, path))
    return named != (str(worktree.id), created)


def let_go_of_anothers(store: Store, repository: git.Repository, worktree: WorktreeRecord) -> None:
    """Release a foreign checkout in a worktree's place: it is left alone, with its record."""
    if is_anothers(repository, worktree):
        leases = records.leases_of(store, worktree)
        leases.forget(*(lease for lease in leases.all() if lease.kind == LeaseKind.CHECKOUT))


def rescue(repository: git.Repository, worktree: WorktreeRecord, commits: Sequence[git.Commit]) -> list[str]:
    """Keep commits that no ref holds under refs of testgrove's; a line for each ref. Raises UnavailableError."""
    return [
        f"commit {kept.commit[:10]} {printable(kept.subject)} is on no branch: kept as {kept.id}; "
        f"testgrove list --rescued"
        for kept in git.rescue(repository, str(worktree.id), commits)
    ]


def set_removing(store: Store, worktree: WorktreeRecord) -> WorktreeRecord:
    """Record that it is decided that a worktree goes: a recovery finishes that."""
    return records.update(store, worktree, status=WorktreeStatus.REMOVING, plan=lifecycle.undo())


def decide_removal(store: Store, repository: git.Repository, worktree: WorktreeRecord) -> list[str]:
    """Keep every commit that would be lost with a worktree that is about to be undone without asking its user.

    Returns a line for each ref that keeps some. Then the removal is recorded as decided: after a crash, files that the
    undo has deleted must not look like the user's changes. Raises PreconditionError (``worktree-dirty``) for what
    cannot be kept, unless the removal was already decided, and (``not-mounted``).
    """
    let_go_of_anothers(store, repository, worktree)
    kept = [] if is_anothers(repository, worktree) else _rescue_all(store, repository, worktree)
    set_removing(store, worktree)
    return kept


def _rescue_all(store: Store, repository: git.Repository, worktree: WorktreeRecord) -> list[str]:
    if away := unmounted(store, worktree):
        raise PreconditionError("not-mounted", away, hint=f"mount it, or: testgrove remove {worktree.id} --force")
    decided = worktree.status == WorktreeStatus.REMOVING
    try:
        history = history_of(repository, worktree)
    except TestgroveError:
        if decided:
            return []
        raise
    if history.lines and not decided:
        raise PreconditionError(
            "worktree-dirty",
            f"worktree {worktree.id} has {'; '.join(history.lines[:3])}",
            hint=f"testgrove remove {worktree.id}",
        )
    return rescue(repository, worktree, history.commits)
