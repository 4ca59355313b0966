"""Broken worktrees: those that could be neither completed nor removed.

They have their own status, because a recorded removal counts as decided: a recovery completes it. Nothing is decided
about a broken worktree. Users may work in it, so `remove` and `cleanup` examine it like any other.
"""

from __future__ import annotations

from testgrove.app.isolation import isolated
from testgrove.app.worktrees import records
from testgrove.app.worktrees.ownership import take_manifest
from testgrove.core.model import WorktreeStatus
from testgrove.core.worktrees.record import WorktreeRecord
from testgrove.system.store import Store


def set_broken(store: Store, worktree: WorktreeRecord, note: str, *, half_made: bool = False) -> None:
    """Record that a worktree is broken, and let go of it. note: why.

    half_made: its set-up did not finish. If it was already decided that it goes, all that is in it now counts as
    written by testgrove; what comes later is the user's.
    """
    if half_made and worktree.status == WorktreeStatus.REMOVING:
        # Where that fails, nothing in it counts as testgrove's, and `remove` asks for --force.
        with isolated(f"inspect {worktree.path}", lambda _error: None):
            records.update(store, worktree, manifest=take_manifest(worktree.path))
    records.update(store, worktree, status=WorktreeStatus.BROKEN, holder=None, note=note, plan=())
