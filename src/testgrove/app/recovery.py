"""Recovery: what commands that died have left is finished, before anything else is done."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from testgrove.app.holder import Holder, has_let_go
from testgrove.app.isolation import isolated
from testgrove.app.runs.log_and_reports import LOG, Render, report_killed_run
from testgrove.app.worktrees import records
from testgrove.app.worktrees.broken import set_broken
from testgrove.app.worktrees.history import decide_removal
from testgrove.app.worktrees.ownership import take_manifest_of_a_dead_run
from testgrove.app.worktrees.undo import repository_of, undo
from testgrove.core.model import LeaseKind, WorktreeStatus
from testgrove.core.runs.plan import Action
from testgrove.core.worktrees import lifecycle
from testgrove.errors import TestgroveError
from testgrove.system import git
from testgrove.system.store import Row, Store
from testgrove.system.store.commands import CommandRecord
from testgrove.system.store.runs import RunRecord


def recover(holder: Holder, render: Render) -> list[str]:
    """Finish what dead commands left, in all projects; the ids of the worktrees that were mended or undone.

    render: makes the reports of runs that were killed.

    Idempotent, and safe to be killed: every step looks at what is there, and each dead command has one mender at a
    time, which holds the dead one's own lock.
    """
    mended: list[str] = []
    for dead in records.dead_commands(holder.store, holder.locks.is_held):
        lock = holder.locks.try_acquire(dead.mark)
        if lock is None:
            continue
        note = partial(holder.note_unfinished, dead.command)
        try:
            with isolated(f"end the processes of `{dead.command}`", note):
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
    for row in store.rows("SELECT * FROM worktrees WHERE holder = ?", mark):
        with isolated(f"recover worktree {row['id']}", partial(_give_up, holder, row, WorktreeStatus(row["status"]))):
            _mend_worktree(holder, row)
        mended.append(row["id"])
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


def _give_up(holder: Holder, row: Row, before: WorktreeStatus, error: TestgroveError) -> None:
    """A worktree that cannot be recovered is nobody's, and its note says why. before: its status at first."""
    note = f"its command died, and it could not be recovered: {error.message.splitlines()[0]}"
    if row["status"] in (WorktreeStatus.CREATING, WorktreeStatus.REMOVING):
        set_broken(holder.store, row, note, half_made=before == WorktreeStatus.CREATING)
        return
    running = row["status"] == WorktreeStatus.RUNNING
    status = WorktreeStatus.PARKED if running else row["status"]
    records.update(holder.store, row, status=status, holder=None, note=note)


def _mend_worktree(holder: Holder, row: Row) -> None:
    store, path = holder.store, Path(row["path"])
    leases = records.leases_of(store, row)
    whole = bool(row["manifest"]) and path.is_dir()
    actions = lifecycle.recover(WorktreeStatus(row["status"]), whole=whole)
    for action in actions:
        match action:
            case Action.UNDO_LEASES:
                _keep_commits(holder, row)
                undo(holder, leases)
            case Action.FORGET:
                records.delete(store, row)
                return
            case Action.TAKE_MANIFEST:
                manifest = take_manifest_of_a_dead_run(row, _last_beat_ns(store, row))
                records.update(store, row, manifest=manifest)
            case Action.DETACH_HEAD:
                git.detach(path)
            case Action.RELEASE_PORTS:
                undo(holder, leases, LeaseKind.PORTS)
    if actions:
        records.set_parked(store, row)
    else:
        records.update(store, row, holder=None)


def _keep_commits(holder: Holder, row: Row) -> None:
    """Before a checkout goes: somebody may have worked in it since its command died."""
    leases = records.leases_of(holder.store, row)
    for lease in leases.all():
        if lease.kind == LeaseKind.CHECKOUT and (repository := repository_of(lease)):
            decide_removal(holder.store, repository, row)


def _last_beat_ns(store: Store, row: Row) -> int:
    """When the worktree's run last showed that it lived: the modification time of its log, in nanoseconds."""
    run = store.runs.find(row["run"]) if row["run"] else None
    try:
        return (run.folder / LOG).stat().st_mtime_ns if run else 0
    except OSError:
        return 0  # the log is gone: then nothing that the attempt wrote can be told from the user's files


def _finish_run(holder: Holder, run: RunRecord, render: Render) -> None:
    try:
        undo(holder, holder.store.leases(f"run:{run.id}"))
    finally:  # a server that does not answer keeps the run's record, not its report
        report_killed_run(run.folder, render)
    holder.store.runs.delete(run.id)
