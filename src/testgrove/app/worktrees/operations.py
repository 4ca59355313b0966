"""Worktrees: create, recycle, park, keep."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from testgrove.app.holder import Holder
from testgrove.app.project import Project
from testgrove.app.worktrees import records
from testgrove.app.worktrees.broken import set_broken
from testgrove.app.worktrees.copies import has_include
from testgrove.app.worktrees.creation import Creation
from testgrove.app.worktrees.files import write_files
from testgrove.app.worktrees.history import decide_removal, is_anothers, let_go_of_anothers, rescue
from testgrove.app.worktrees.hooks import OnOutput, unseen
from testgrove.app.worktrees.ownership import (
    CheckoutContents,
    collect_outputs,
    examine,
    outputs_of,
    require_no_mounts,
    take_manifest,
)
from testgrove.app.worktrees.removal import RemovalOptions, remove
from testgrove.app.worktrees.undo import undo
from testgrove.app.worktrees.workspace import OnPhase, PendingDatabases, Target
from testgrove.core.model import LeaseKind, WorktreeSpec, WorktreeStatus
from testgrove.core.runs.plan import Action
from testgrove.core.worktrees import lifecycle
from testgrove.core.worktrees.record import WorktreeRecord
from testgrove.errors import PreconditionError, TestgroveError
from testgrove.system import git
from testgrove.system.trusted_paths import require_trusted_parent
from testgrove.system.undeletable import require_deletable


def silent(_phase: str, _reason: str) -> None:
    """An OnPhase for callers that show nothing."""


def target_of(project: Project, ref: str | None) -> Target:
    """Return the commit that a ref, or the working tree, means now. Raises PreconditionError for an unknown ref."""
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
    databases: PendingDatabases | None = None,
    suite_env: Mapping[str, str] | None = None,
    run: str | None = None,
    logs: Path | None = None,
    on_output: OnOutput = unseen,
) -> Creation:
    """Create a worktree, or recycle a parked one of the same id.

    With run, the worktree belongs to that run (status ``running``, still held); else it is ``ready`` without a holder.
    logs: where the output of its set-up is kept, under its id, by default in test-artifacts. on_output: receives it.
    After a failure, only the error and that output are left.
    """
    require_trusted_parent(records.location_of(project, spec).parent, project.main)
    worktree, notes = _claim(project, holder, spec, run, databases=databases is not None)
    creation = Creation(
        project,
        holder,
        spec,
        target,
        on_phase,
        logs or project.artifacts,
        worktree=worktree,
        on_output=on_output,
        making=databases,
        suite_env=suite_env or {},
        notes=[*notes],
    )
    _perform(creation)
    _hand_over(creation, run)
    records.publish(project, holder)
    registry = project.main / records.REGISTRY
    if run is None and not records.is_our_registry(registry):
        creation.notes.append(
            f"{registry} was not written by testgrove; refusing to overwrite it (see testgrove doctor)"
        )
    return creation


def _plan(project: Project, spec: WorktreeSpec, *, recycled: bool, databases: bool) -> tuple[Action, ...]:
    settings = project.settings
    return lifecycle.create(
        spec,
        recycled=recycled,
        databases=databases,
        copy=bool(settings.copy) or has_include(project.main),
        setup=bool(settings.setup or settings.teardown),
        setup_first=settings.migrate_after_setup,
    )


def _perform(creation: Creation) -> None:
    """Carry out the plan on record; whatever fails is undone."""
    making = creation.making
    try:
        for action in creation.worktree.plan:
            creation.perform(Action(action))
    except BaseException as error:
        if making is not None:
            making.abandon()
        creation.close()  # its folder is about to go
        _undo_creation(creation.project, creation.holder, creation.worktree, error)
        raise
    creation.close()


def _hand_over(creation: Creation, run: str | None) -> None:
    """Make a worktree that is complete its user's, or its run's. From now on its branch is the user's."""
    store = creation.project.store
    leases = records.leases_of(store, creation.worktree)
    with store.transaction():
        leases.forget(*(lease for lease in leases.all() if lease.kind == LeaseKind.BRANCH))
        if run is None:
            creation.update(status=WorktreeStatus.READY, holder=None, plan=())
        else:
            creation.update(status=WorktreeStatus.RUNNING, plan=lifecycle.park())


class _Claimed(NamedTuple):
    """Take a worktree for this command, and record the plan that makes it ready."""

    worktree: WorktreeRecord
    notes: Sequence[str] = ()


def _claim(project: Project, holder: Holder, spec: WorktreeSpec, run: str | None, *, databases: bool) -> _Claimed:
    """Take a new or a parked worktree for this command."""
    known = project.store.worktrees.find(project.id, spec.id)
    if known is None:
        return _begin(project, holder, spec, run, databases=databases)
    if known.holder is not None:
        raise records.held(project.store, known)
    if known.status != WorktreeStatus.PARKED:
        raise PreconditionError(
            "worktree-exists",
            f"worktree {spec.id} already exists ({known.status}, {known.path})",
            hint=f"testgrove remove {spec.id}   or choose another --identifier",
        )
    if known.path != records.location_of(project, spec):
        # A run's worktree, or one of an older version. Environments cannot be moved: start again.
        removed = remove(project, holder, str(known.id), RemovalOptions(bulk=True))
        notes = [removed.note] if removed.note else []
        return _begin(project, holder, spec, run, notes, databases=databases)
    worktree = records.take(project, holder, known, WorktreeStatus.PARKED)
    try:
        require_no_mounts(worktree, "recycled")
        require_deletable(worktree.path, f"worktree {worktree.id} cannot be recycled", skip=(".venv",))
        notes = _empty(project, worktree)
    except BaseException:
        records.update(project.store, worktree, holder=None)
        raise
    if not git.is_checkout(project.repository, worktree.path) or is_anothers(project.repository, worktree):
        # It was deleted or replaced by hand: start again.
        let_go_of_anothers(project.store, project.repository, worktree)
        undo(holder, records.leases_of(project.store, worktree))
        records.delete(project.store, worktree)
        return _begin(project, holder, spec, run, notes, databases=databases)
    # From here on the tree is overwritten: a crash may only end in the whole worktree being undone.
    worktree = records.update(
        project.store,
        worktree,
        status=WorktreeStatus.CREATING,
        plan=_plan(project, spec, recycled=True, databases=databases),
        run=run,
        parked=None,
        databases={},
        ports={},
        directory=spec.directory,
    )
    return _Claimed(worktree, notes)


def _begin(
    project: Project,
    holder: Holder,
    spec: WorktreeSpec,
    run: str | None,
    notes: Sequence[str] = (),
    *,
    databases: bool,
) -> _Claimed:
    """A new worktree, on record."""
    worktree = records.insert(
        project, holder, spec, run=run, plan=_plan(project, spec, recycled=False, databases=databases)
    )
    return _Claimed(worktree, notes)


def _empty(project: Project, worktree: WorktreeRecord) -> list[str]:
    """Make certain that a parked worktree may be overwritten, and keep what is kept of it; notes of that.

    A commit that the main checkout's reflog holds is not kept by a ref: its user has amended it there, and git keeps it
    as long as any other.
    """
    findings = examine(project, worktree)
    findings.require_nothing_of_the_users(worktree, "recycled", rescuing=True)
    collect_outputs(project, worktree, findings.outputs)
    return rescue(project.repository, worktree, git.not_in_reflogs(project.repository.common_dir, findings.unheld))


def _undo_creation(project: Project, holder: Holder, worktree: WorktreeRecord, error: BaseException) -> None:
    try:
        # Commits of set-up's, or of a user who was quick.
        for line in decide_removal(project.store, project.repository, worktree):
            error.add_note(line)
        undo(holder, records.leases_of(project.store, worktree))
        records.delete(project.store, worktree)
        records.publish(project, holder)
        if isinstance(error, TestgroveError):
            error.hint = hint_without(worktree.path, error.hint)
    except TestgroveError as second:
        error.add_note(f"undoing it failed: {second.message}")
        if second.code == "pool-closed":
            return  # a second Ctrl-C; the next command finishes it
        note = f"undoing failed: {second.message.splitlines()[0]}"
        now = project.store.worktrees.find(project.id, worktree.id) or worktree
        set_broken(project.store, now, note, half_made=True)


def hint_without(path: Path, hint: str) -> str:
    """A hint that names nothing in a folder that was removed: its parent in its place, or no hint."""
    if str(path) not in hint:
        return hint
    looks = re.fullmatch(rf"(df -h|ls -ld|findmnt -T) {re.escape(str(path))}\S*", hint)
    return f"{looks[1]} {path.parent}" if looks else ""


def park(
    project: Project,
    holder: Holder,
    worktree: WorktreeRecord,
    *,
    collect_into: Path,
    contents: CheckoutContents | None = None,
) -> str:
    """Put away a worktree that a run is done with: HEAD detached, ports and databases released, the rest kept.

    contents: what was in it when its last attempt had ended, where that is known. What has changed since is no
    attempt's, so it is its user's. Returns why the outputs stay in the worktree; empty if they were moved.
    """
    worktree = _record_plan(project, worktree, lifecycle.park())
    path = worktree.path
    there = contents or CheckoutContents.of(path)
    left: list[str] = []
    perform: dict[Action, Callable[[], object]] = {
        Action.COLLECT_OUTPUTS: lambda: left.append(_move_outputs(project, worktree, collect_into, there)),
        Action.TAKE_MANIFEST: lambda: _record_manifest(project, worktree, there.manifest(path).dump()),
        Action.DETACH_HEAD: lambda: git.detach(path),
        Action.RELEASE_PORTS: lambda: undo(holder, records.leases_of(project.store, worktree), LeaseKind.PORTS),
    }
    for action in worktree.plan:
        perform[Action(action)]()
    records.set_parked(project.store, worktree)
    records.publish(project, holder)
    return "".join(left)


def _record_plan(project: Project, worktree: WorktreeRecord, plan: tuple[Action, ...]) -> WorktreeRecord:
    """Store a plan before it is carried out; a run's worktree has it already."""
    return worktree if worktree.plan == plan else records.update(project.store, worktree, plan=plan)


def _record_manifest(project: Project, worktree: WorktreeRecord, manifest: str) -> None:
    """Store a manifest, and that it is taken: a recovery that took it again would count the user's files as ours."""
    left = lifecycle.after(worktree.plan, Action.TAKE_MANIFEST)
    records.update(project.store, worktree, manifest=manifest, plan=left)


def _move_outputs(
    project: Project, worktree: WorktreeRecord, folder: Path, contents: CheckoutContents | None = None
) -> str:
    """Move a worktree's outputs to a folder. If something is mounted in the worktree, or an output belongs to another
    user, they stay, with a note."""
    try:
        collect_outputs(project, worktree, outputs_of(project, worktree, contents), into=folder)
    except PreconditionError as error:
        if error.code not in ("mounted-inside", "not-permitted"):
            raise
        return error.message
    return ""


def keep(project: Project, holder: Holder, worktree: WorktreeRecord, *, collect_into: Path, note: str) -> str:
    """Keep a worktree for the user: `ready`, its ports leased. Its databases end with the run's servers, so
    they are removed from its env file. Returns the same as park()."""
    worktree = _record_plan(project, worktree, lifecycle.keep())
    left: list[str] = []
    perform: dict[Action, Callable[[], object]] = {
        Action.COLLECT_OUTPUTS: lambda: left.append(_move_outputs(project, worktree, collect_into)),
        Action.WRITE_FILES: lambda: write_files(project, worktree, {}),
        Action.TAKE_MANIFEST: lambda: _record_manifest(project, worktree, take_manifest(worktree.path)),
    }
    for action in worktree.plan:
        perform[Action(action)]()
    records.set_kept(project.store, worktree, note)
    records.publish(project, holder)
    return "".join(left)
