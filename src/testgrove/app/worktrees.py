"""Worktrees: create, recycle, park, remove, clean up."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from testgrove.app import records
from testgrove.app.creation import Creation, DatabasesInTheMaking, OnPhase, Target
from testgrove.app.holder import Holder
from testgrove.app.hooks import OnOutput, record_teardown, unseen
from testgrove.app.isolation import isolated
from testgrove.app.ownership import Findings, collect_outputs, examine, require_no_mounts, take_manifest
from testgrove.app.project import Project
from testgrove.app.shared_git import shared_changes
from testgrove.app.undo import undo
from testgrove.app.worktree_files import write_files
from testgrove.core import lifecycle
from testgrove.core.model import LeaseKind, Worktree, WorktreeSpec, WorktreeStatus
from testgrove.core.plan import Action
from testgrove.errors import PreconditionError, TestgroveError
from testgrove.system import git
from testgrove.system.store import Row

KEPT, KEPT_DAYS = 8, 7  # how many worktrees with failures are kept, and how long


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
    logs: Path | None = None,
    on_output: OnOutput = unseen,
) -> Creation:
    """Make a worktree ready, from nothing or from a parked one of the same id.

    With run, the worktree goes to that run (status ``running``, still held); else it is ``ready`` and nobody's.
    logs: where the output of its set-up is kept, under its id, by default in test-artifacts; on_output: is given it.
    Whatever fails, nothing is left but the error and that output.
    """
    row, recycled = _claim(project, holder, spec, run)
    creation = Creation(
        project,
        holder,
        spec,
        target,
        row,
        on_phase,
        logs or project.artifacts,
        on_output=on_output,
        making=databases,
        suite_env=suite_env or {},
    )
    try:
        for action in _plan(project, spec, recycled=recycled, databases=databases is not None):
            creation.perform(action)
    except BaseException as error:
        if databases is not None:
            databases.abandon()
        _undo_creation(project, holder, row, error)
        raise
    _hand_over(project, row, run)
    publish(project, holder)
    registry = project.main / records.REGISTRY
    if run is None and not records.is_our_registry(registry):
        creation.notes.append(f"{registry} was not written by testgrove and stays as it is: see testgrove doctor")
    return creation


def _plan(project: Project, spec: WorktreeSpec, *, recycled: bool, databases: bool = False) -> tuple[Action, ...]:
    settings = project.settings
    return lifecycle.create(
        spec,
        recycled=recycled,
        databases=databases,
        copy=bool(settings.copy),
        setup=bool(settings.setup or settings.teardown),
    )


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
    plan = _plan(project, spec, recycled=known is not None)
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
    if Path(known["path"]) != records.place_of(project, spec):
        # A run's, wanted under its id now; or a version before made it. An environment cannot be moved: begin anew.
        remove(project, holder, known["id"])
        return records.insert(project, holder, spec, run=run, plan=_plan(project, spec, recycled=False)), False
    row = records.take(project, holder, known, WorktreeStatus.PARKED)
    if not git.is_checkout(project.repository, Path(row["path"])):  # somebody deleted it by hand: begin anew
        undo(holder, records.leases_of(project.store, row))
        records.delete(project.store, row)
        return records.insert(project, holder, spec, run=run, plan=_plan(project, spec, recycled=False)), False
    try:
        require_no_mounts(row, "recycled")
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
        if second.code == "pool-closed":
            return  # a second Ctrl-C; the next command finishes it
        note = f"could not be undone: {second.message.splitlines()[0]}"
        records.update(project.store, row, status=WorktreeStatus.REMOVING, holder=None, note=note)


def publish(project: Project, holder: Holder) -> None:
    """Bring the registry view up to date."""
    records.write_registry(project.store, holder.locks, project.id, project.main)


def park(project: Project, holder: Holder, row: Row, *, collect_into: Path) -> str:
    """Put away a worktree that a run is done with: HEAD detached, ports and databases released, the rest kept.

    Returns why its outputs stay in it; empty if they were moved.
    """
    left: list[str] = []
    perform: dict[Action, Callable[[], object]] = {
        Action.COLLECT_OUTPUTS: lambda: left.append(_move_outputs(project, row, collect_into)),
        Action.TAKE_MANIFEST: lambda: records.update(project.store, row, manifest=take_manifest(Path(row["path"]))),
        Action.DETACH_HEAD: lambda: git.detach(Path(row["path"])),
        Action.RELEASE_PORTS: lambda: undo(holder, records.leases_of(project.store, row), LeaseKind.PORTS),
    }
    for action in lifecycle.park():
        perform[action]()
    records.set_parked(project.store, row)
    publish(project, holder)
    return "".join(left)


def _move_outputs(project: Project, row: Row, folder: Path) -> str:
    """Move a worktree's outputs to a folder; if something is mounted in the worktree, they stay, and that is said."""
    try:
        collect_outputs(project, row, examine(project, row), into=folder)
    except PreconditionError as error:
        if error.code != "mounted-inside":
            raise
        return error.message
    return ""


def keep(project: Project, holder: Holder, row: Row, *, collect_into: Path, note: str) -> str:
    """Leave a worktree that a run is done with as it is, for people: `ready`, its ports leased. Its databases go with
    the run's servers, so its env file names them no more. Returns what park() returns."""
    left: list[str] = []
    perform: dict[Action, Callable[[], object]] = {
        Action.COLLECT_OUTPUTS: lambda: left.append(_move_outputs(project, row, collect_into)),
        Action.WRITE_FILES: lambda: write_files(project, row, {}),
        Action.TAKE_MANIFEST: lambda: records.update(project.store, row, manifest=take_manifest(Path(row["path"]))),
    }
    for action in lifecycle.keep():
        perform[action]()
    records.set_kept(project.store, row, note)
    publish(project, holder)
    return "".join(left)


def trim_kept(project: Project, holder: Holder) -> list[str]:
    """Remove the kept worktrees over KEPT in number, and those older than KEPT_DAYS; the ids of those that went."""
    kept = [row for row in records.rows_of(project) if records.is_kept(row)]
    kept.sort(key=lambda row: row["parked"], reverse=True)
    oldest = time.time() - KEPT_DAYS * 86400
    return _remove_quietly(project, holder, [r for n, r in enumerate(kept) if n >= KEPT or r["parked"] < oldest])


def trim_parked(project: Project, holder: Holder, keep: int) -> list[str]:
    """Remove the parked worktrees over a number, the oldest first; the ids of those that went."""
    parked = [row for row in records.rows_of(project) if row["status"] == WorktreeStatus.PARKED]
    parked.sort(key=lambda row: row["parked"] or 0.0, reverse=True)
    return _remove_quietly(project, holder, parked[keep:])


def _remove_quietly(project: Project, holder: Holder, rows: Sequence[Row]) -> list[str]:
    gone = []
    for row in rows:
        # The user's files, a failed teardown, or somebody took it over: it stays, and `list` shows it.
        with isolated(f"remove {row['id']}", lambda _error: None):
            remove(project, holder, row["id"])
            gone.append(row["id"])
    return gone


def _require_outside(tree: Path) -> None:
    """What is imported later must still be there: this program may not be a part of what it removes."""
    if Path(sys.prefix).is_relative_to(tree):
        raise PreconditionError(
            "own-environment",
            f"this testgrove is installed in {tree}/.venv, the environment of the worktree that it is to remove",
            hint="use one that is installed elsewhere: deactivate",
        )


def remove(project: Project, holder: Holder, name: str, *, force: bool = False) -> Worktree:
    """Take a worktree away. Raises PreconditionError while something of the user's is in it, unless forced."""
    row = records.row_of(project, name)
    _require_outside(Path(row["path"]))
    require_no_mounts(row, "removed")
    row = records.take(project, holder, row, WorktreeStatus.READY, WorktreeStatus.PARKED, WorktreeStatus.REMOVING)
    again = row["status"] == WorktreeStatus.REMOVING  # its undo has failed before, and is tried once more
    note = _tear_down(project, holder, row, force=force) if again else _prepare(project, holder, row, force=force)
    try:
        kept = undo(holder, records.leases_of(project.store, row))
    except TestgroveError as error:
        records.update(project.store, row, holder=None, note=error.message)
        raise
    records.delete(project.store, row)
    publish(project, holder)
    kept += [str(change) for change in shared_changes(project, Path(row["path"]))]
    return replace(records.to_worktree(row), note="\nnote: ".join(filter(None, [note, *kept])))


def _prepare(project: Project, holder: Holder, row: Row, *, force: bool) -> str:
    """All that may still keep the worktree, then what is kept of it; returns what _tear_down() does."""
    try:
        findings = _findings(project, row, force=force)
        if not force:
            findings.require_nothing_of_the_users(row, "removed")
        note = _tear_down(project, holder, row, force=force)
        # Once more: teardown may have written something.
        findings = _findings(project, row, force=force) if project.settings.teardown else findings
        collect_outputs(project, row, findings)
    except BaseException:
        records.update(project.store, row, holder=None)
        raise
    records.update(project.store, row, status=WorktreeStatus.REMOVING)
    return note


def _tear_down(project: Project, holder: Holder, row: Row, *, force: bool) -> str:
    """Run the teardown commands: those that are configured now, or those that an undo has not got through.

    One that fails keeps the worktree, and its note says so; with force, what failed is returned.
    """
    leases, commands = records.leases_of(project.store, row), project.settings.teardown
    known = [lease for lease in leases.all() if lease.kind == LeaseKind.TEARDOWN]
    if row["status"] != WorktreeStatus.REMOVING and (known or commands):
        record_teardown(project, row, commands)
    try:
        undo(holder, leases, LeaseKind.TEARDOWN)
    except TestgroveError as error:
        if force:
            leases.forget(*(lease for lease in leases.all() if lease.kind == LeaseKind.TEARDOWN))
            return error.message
        error.hint += f"; to remove it all the same: testgrove remove {row['id']} --force"
        records.update(project.store, row, holder=None, note=error.message.splitlines()[0])
        raise
    return ""


def _findings(project: Project, row: Row, *, force: bool) -> Findings:
    try:
        return examine(project, row)
    except TestgroveError:
        if force:
            return Findings.nothing()  # git cannot read it any more, and the user has said to lose it
        raise
