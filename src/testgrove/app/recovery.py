"""Recovery: finds commands that died, and undoes or finishes what they left: stale leases, worktrees, runs.

Every command that changes something does this first. A lease is stale if the command that holds it is dead.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial

from testgrove.app.holder import Holder, has_let_go
from testgrove.app.isolation import isolated
from testgrove.app.runs.log_and_reports import LOG, Render, report_killed_run
from testgrove.app.worktrees import records
from testgrove.app.worktrees.broken import set_broken
from testgrove.app.worktrees.files import remove_unfinished_writes
from testgrove.app.worktrees.history import decide_removal
from testgrove.app.worktrees.ownership import take_manifest_of_a_dead_run
from testgrove.app.worktrees.undo import repository_of, undo
from testgrove.core.model import LeaseKind, WorktreeStatus
from testgrove.core.runs.plan import Action
from testgrove.core.worktrees import lifecycle
from testgrove.core.worktrees.record import WorktreeRecord
from testgrove.errors import TestgroveError
from testgrove.system import git
from testgrove.system.store import Store
from testgrove.system.store.commands import CommandRecord
from testgrove.system.store.runs import RunRecord


def recover(holder: Holder, render: Render) -> list[str]:
    """Recover what dead commands left, in all projects; return the ids of the recovered or undone worktrees.

    render: writes the reports of runs that were killed.

    Idempotent, and safe to be killed: every step checks the actual state, and each dead command is recovered by one
    process at a time, which holds the dead command's own lock.
    """
    mended: list[str] = []
    for dead in records.dead_commands(holder.store, holder.locks.is_held):
        lock = holder.locks.try_acquire(dead.mark)
        if lock is None:
            continue
        note = partial(holder.note_unfinished, dead.command)
        try:
            with isolated(f"stop the processes of `{dead.command}`", note):
                mended += _recover_one(holder, dead, render)
        finally:
            lock.release()
    holder.forgive_deletions()  # of others' worktrees; what could not be deleted stays leased
    return mended


def _recover_one(holder: Holder, dead: CommandRecord, render: Render) -> list[str]:
    """Finish what one command left. Each record by itself: one that is broken stays, is noted, and is tried again."""
    store, mark = holder.store, dead.mark
    note = partial(holder.note_unfinished, dead.command)
    commands = store.leases(f"command:{mark}")
    # Processes first: nothing may write into what is about to be undone.
    undo(holder, commands, LeaseKind.PROCESSES)
    mended = []
    for worktree in store.worktrees.held_by(mark):
        with isolated(f"recover worktree {worktree.id}", partial(_give_up, holder, worktree)):
            _mend_worktree(holder, worktree)
        mended.append(str(worktree.id))
    for run in store.runs.held_by(mark):
        with isolated(f"finish run {run.id}", note):
            _finish_run(holder, run, render)
    with isolated("clean up", note):
        undo(holder, commands)
    if has_let_go(store, mark):
        store.commands.delete(mark)
    for project in store.projects.all():
        with isolated(f"write the registry of {project.main}", note):
            records.write_registry(store, holder.locks, project.id, project.main)
    return mended


def _give_up(holder: Holder, before: WorktreeRecord, error: TestgroveError) -> None:
    """Release a worktree that cannot be recovered, with the reason in its note. before: its record at the start."""
    note = f"its command was killed, and recovery failed: {error.message.splitlines()[0]}"
    now = holder.store.worktrees.find(before.project, before.id) or before
    if now.status in (WorktreeStatus.CREATING, WorktreeStatus.REMOVING):
        set_broken(holder.store, now, note, half_made=before.status == WorktreeStatus.CREATING)
        return
    status = WorktreeStatus.PARKED if now.status == WorktreeStatus.RUNNING else now.status
    records.update(holder.store, now, status=status, holder=None, note=note)


def _mend_worktree(holder: Holder, worktree: WorktreeRecord) -> None:
    store, path = holder.store, worktree.path
    leases = records.leases_of(store, worktree)
    whole = bool(worktree.manifest) and path.is_dir()
    actions = lifecycle.recover(worktree.status, worktree.plan, whole=whole)
    for action in actions:
        match action:
            case Action.UNDO_LEASES:
                _keep_commits(holder, worktree)
                undo(holder, leases)
            case Action.FORGET:
                records.delete(store, worktree)
                return
            case Action.TAKE_MANIFEST:
                manifest = take_manifest_of_a_dead_run(worktree, _last_beat_ns(store, worktree))
                records.update(store, worktree, manifest=manifest)
            case Action.DETACH_HEAD:
                git.detach(path)
            case Action.RELEASE_PORTS:
                undo(holder, leases, LeaseKind.PORTS)
    if whole:
        with suppress(TestgroveError):  # its folder may no longer be a checkout
            remove_unfinished_writes(worktree)
    if actions:
        records.set_parked(store, worktree)
    else:
        records.release(store, worktree)


def _keep_commits(holder: Holder, worktree: WorktreeRecord) -> None:
    """Check a checkout before its removal: a user may have worked in it since its command died."""
    leases = records.leases_of(holder.store, worktree)
    for lease in leases.all():
        if lease.kind == LeaseKind.CHECKOUT and (repository := repository_of(lease)):
            decide_removal(holder.store, repository, worktree)


def _last_beat_ns(store: Store, worktree: WorktreeRecord) -> int:
    """When the worktree's run last showed that it lived: the modification time of its log, in nanoseconds."""
    run = store.runs.find(worktree.run) if worktree.run else None
    try:
        return (run.folder / LOG).stat().st_mtime_ns if run else 0
    except OSError:
        return 0  # without the log, files of the attempt cannot be distinguished from the user's


def _finish_run(holder: Holder, run: RunRecord, render: Render) -> None:
    try:
        undo(holder, holder.store.leases(f"run:{run.id}"))
    finally:  # a server that does not answer keeps the run's record, not its report
        report_killed_run(run.folder, render)
    holder.store.runs.delete(run.id)
