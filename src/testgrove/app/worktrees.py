"""Worktrees: create, recycle, park, remove, clean up."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from testgrove.app import records
from testgrove.app.creation import Creation, DatabasesInTheMaking, OnPhase, Target
from testgrove.app.holder import Holder
from testgrove.app.ownership import Findings, collect_outputs, examine, take_manifest
from testgrove.app.project import Project
from testgrove.app.undo import undo
from testgrove.core import lifecycle
from testgrove.core.model import LeaseKind, Worktree, WorktreeSpec, WorktreeStatus
from testgrove.core.plan import Action
from testgrove.errors import PreconditionError, TestgroveError
from testgrove.system import git
from testgrove.system.store import Row


def silent(_phase: str, _reason: str) -> None:
    """An OnPhase for callers that show nothing."""


def target_of(project: Project, ref: str | None) -> Target:
    """What a ref, or the working tree, means now. Raises PreconditionError for an unknown ref."""
    if ref is None:
        snapshot = git.snapshot(project.repository)
        return Target(snapshot.commit, snapshot.tree, "", describe(snapshot))
    resolved = git.resolve(project.repository, ref)
    return Target(resolved.commit, git.tree_of(project.repository, resolved.commit), resolved.branch or "", ref)


def describe(snapshot: git.Snapshot) -> str:
    """A snapshot in words: what differs from the commit that is checked out."""
    counts = ((snapshot.modified, "modified"), (snapshot.untracked, "untracked"))
    changes = ", ".join(f"{number} {what}" for number, what in counts if number) or "no changes"
    left_out = f", without the nested repositories {', '.join(snapshot.nested)}" if snapshot.nested else ""
    return f"working tree: {changes}{left_out}"


def create(
    project: Project,
    holder: Holder,
    spec: WorktreeSpec,
    target: Target,
    *,
    on_phase: OnPhase = silent,
    databases: DatabasesInTheMaking | None = None,
    suite_env: Mapping[str, str] | None = None,
    run: str | None = None,
) -> Creation:
    """Make a worktree ready, from nothing or from a parked one of the same id.

    With run, the worktree goes to that run (status ``running``, still held); else it is ``ready`` and nobody's.
    Whatever fails, nothing is left but the error.
    """
    row, recycled = _claim(project, holder, spec, run)
    creation = Creation(project, holder, spec, target, row, on_phase, databases, suite_env or {})
    try:
        for action in lifecycle.create(spec, recycled=recycled, databases=databases is not None):
            creation.perform(action)
    except BaseException as error:
        if databases is not None:
            databases.abandon()
        _undo_creation(project, holder, row, error)
        raise
    _hand_over(project, row, run)
    publish(project, holder)
    return creation


def _hand_over(project: Project, row: Row, run: str | None) -> None:
    """Make a worktree that is complete its user's, or its run's. From now on its branch is the user's."""
    leases = records.leases_of(project.store, row)
    with project.store.transaction():
        leases.forget(*(lease for lease in leases.all() if lease.kind == LeaseKind.BRANCH))
        if run is None:
            records.update(project.store, row, status=WorktreeStatus.READY, holder=None)
        else:
            records.update(project.store, row, status=WorktreeStatus.RUNNING)


def _claim(project: Project, holder: Holder, spec: WorktreeSpec, run: str | None) -> tuple[Row, bool]:
    """The worktree's row, ours now; and whether it is a parked one that is taken over."""
    known = project.store.one("SELECT * FROM worktrees WHERE project = ? AND id = ?", project.id, str(spec.id))
    plan = lifecycle.create(spec, recycled=known is not None)
    if known is None:
        return records.insert(project, holder, spec, run=run, plan=plan), False
    if known["holder"] is not None:
        raise records.held(project.store, known)
    if known["status"] != WorktreeStatus.PARKED:
        raise PreconditionError(
            "worktree-exists",
            f"worktree {spec.id} exists ({known['status']}, {known['path']})",
            hint=f"testgrove remove {spec.id}   or choose another --identifier",
        )
    row = records.take(project, holder, known, WorktreeStatus.PARKED)
    if not git.is_checkout(project.repository, Path(row["path"])):  # somebody deleted it by hand: begin anew
        undo(holder, records.leases_of(project.store, row))
        records.delete(project.store, row)
        return records.insert(project, holder, spec, run=run, plan=lifecycle.create(spec, recycled=False)), False
    try:
        findings = examine(project, row)
        findings.require_nothing_of_the_users(row, "recycled")
        collect_outputs(project, row, findings)
    except BaseException:
        records.update(project.store, row, holder=None)
        raise
    # From here on the tree is overwritten: a crash may only end in the whole worktree being undone.
    records.update(
        project.store,
        row,
        status=WorktreeStatus.CREATING,
        plan=list(plan),
        run=run,
        created=records.now(),
        parked=None,
        databases={},
        ports={},
    )
    return row, True


def _undo_creation(project: Project, holder: Holder, row: Row, error: BaseException) -> None:
    try:
        undo(holder, records.leases_of(project.store, row))
        records.delete(project.store, row)
        publish(project, holder)
    except TestgroveError as second:
        error.add_note(f"while undoing it: {second.message}")
        note = f"could not be undone: {second.message}"
        records.update(project.store, row, status=WorktreeStatus.REMOVING, holder=None, note=note)


def publish(project: Project, holder: Holder) -> None:
    """Bring the registry view up to date."""
    records.write_registry(project.store, holder.locks, project.id, project.main)


def park(project: Project, holder: Holder, row: Row, *, collect_into: Path) -> None:
    """Put away a worktree that a run is done with: HEAD detached, ports and databases released, the rest kept."""
    perform: dict[Action, Callable[[], object]] = {
        Action.COLLECT_OUTPUTS: lambda: collect_outputs(project, row, examine(project, row), into=collect_into),
        Action.TAKE_MANIFEST: lambda: records.update(project.store, row, manifest=take_manifest(Path(row["path"]))),
        Action.DETACH_HEAD: lambda: git.detach(Path(row["path"])),
        Action.RELEASE_PORTS: lambda: undo(holder, records.leases_of(project.store, row), LeaseKind.PORTS),
    }
    for action in lifecycle.park():
        perform[action]()
    records.set_parked(project.store, row)
    publish(project, holder)


def trim_parked(project: Project, holder: Holder, keep: int) -> list[str]:
    """Remove the parked worktrees over a number, the oldest first; the ids of those that went."""
    parked = [row for row in records.rows_of(project) if row["status"] == WorktreeStatus.PARKED]
    parked.sort(key=lambda row: row["parked"] or 0.0, reverse=True)
    gone = []
    for row in parked[keep:]:
        try:
            remove(project, holder, row["id"])
            gone.append(row["id"])
        except PreconditionError:
            continue  # the user's files, or somebody took it over: it stays, and `list` shows it
    return gone


def remove(project: Project, holder: Holder, name: str, *, force: bool = False) -> Worktree:
    """Take a worktree away. Raises PreconditionError while something of the user's is in it, unless forced."""
    row = records.row_of(project, name)
    row = records.take(project, holder, row, WorktreeStatus.READY, WorktreeStatus.PARKED, WorktreeStatus.REMOVING)
    if row["status"] != WorktreeStatus.REMOVING:  # else its undo has failed before: it is tried again
        _check_removal(project, row, force=force)
    worktree = records.to_worktree(row)
    try:
        undo(holder, records.leases_of(project.store, row))
    except TestgroveError as error:
        records.update(project.store, row, holder=None, note=error.message)
        raise
    records.delete(project.store, row)
    publish(project, holder)
    return worktree


def _check_removal(project: Project, row: Row, *, force: bool) -> None:
    try:
        findings = _findings(project, row, force=force)
        if not force:
            findings.require_nothing_of_the_users(row, "removed")
        collect_outputs(project, row, findings)
    except BaseException:
        records.update(project.store, row, holder=None)
        raise
    records.update(project.store, row, status=WorktreeStatus.REMOVING)


def _findings(project: Project, row: Row, *, force: bool) -> Findings:
    try:
        return examine(project, row)
    except TestgroveError:
        if force:
            return Findings.nothing()  # git cannot read it any more, and the user has said to lose it
        raise


@dataclass(frozen=True)
class Candidate:
    """A worktree that a clean-up would remove, or skips. why: the reason it is skipped, or empty."""

    id: str
    age_hours: float
    why: str = ""


def cleanup_candidates(project: Project, max_age_hours: float) -> list[Candidate]:
    """What a clean-up would do now: test worktrees, and parked ones, older than so many hours."""
    found = []
    for row in records.rows_of(project):
        age = datetime.now(UTC) - datetime.fromisoformat(row["created"])
        test = row["purpose"].startswith("test-") or row["status"] == WorktreeStatus.PARKED
        if not test or age < timedelta(hours=max_age_hours):
            continue
        found.append(Candidate(row["id"], age.total_seconds() / 3600, _why_kept(project, row)))
    return found


def _why_kept(project: Project, row: Row) -> str:
    if row["holder"] is not None:
        return f"is {row['status']}"
    if row["status"] == WorktreeStatus.REMOVING:
        return ""
    try:
        findings = examine(project, row)
    except TestgroveError as error:
        return f"cannot be examined: {error.message}"
    return findings.summary() if findings.users else ""


def remove_many(
    project: Project,
    holder: Holder,
    ids: Sequence[str],
    on_done: Callable[[str, TestgroveError | None], None],
) -> None:
    """Remove worktrees one after another; on_done is told of each, with the error for one that stays."""
    for name in ids:
        try:
            remove(project, holder, name)
            on_done(name, None)
        except TestgroveError as error:
            on_done(name, error)
