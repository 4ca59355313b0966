"""Removal of worktrees, one by name or several in bulk.

The order is core.worktrees.lifecycle.remove(). It matters, because every step may be the last before a crash, and
nothing of the user's may go with it:

1. Take the worktree, so that no other command uses it. It keeps its status: a crash up to step 7 leaves it unchanged.
2. Examine it. Nothing is changed if something in it is the user's: a single removal refuses. Bulk removal continues if
   the only obstacle is commits that came from a deleted ref.
3. Run the teardown commands, which are leased: after a crash they run again. If one fails, the worktree is kept.
4. After teardown commands, examine it again: they may have written outputs, and the user may have committed.
5. Move outputs to the artifacts.
6. Bulk removal: keep those commits under ``refs/testgrove/rescued``. Only then may their last reference be removed.
7. Record that it is being removed. After a crash from here on, recovery completes the removal.
8. Undo the leases, the newest first: processes, databases, ports; the checkout is moved to the trash before git's
   record is removed, because a record without a folder can be found, but not a folder without a record. A foreign
   checkout in its place is left alone, with its record. If this fails, the worktree becomes `broken`: nothing is
   decided, and the next attempt starts with step 1.
9. Delete the worktree's record, and update the registry.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from testgrove.app.holder import Holder
from testgrove.app.isolation import isolated
from testgrove.app.project import Project
from testgrove.app.worktrees import records
from testgrove.app.worktrees.broken import set_broken
from testgrove.app.worktrees.history import let_go_of_anothers, rescue, set_removing
from testgrove.app.worktrees.hooks import record_teardown
from testgrove.app.worktrees.ownership import Findings, collect_outputs, examine, examine_records, require_no_mounts
from testgrove.app.worktrees.shared_git import shared_changes
from testgrove.app.worktrees.undo import undo
from testgrove.core.frozen import frozen
from testgrove.core.model import LeaseKind, Worktree, WorktreeStatus
from testgrove.core.runs.plan import Action
from testgrove.core.worktrees import lifecycle
from testgrove.core.worktrees.record import WorktreeRecord
from testgrove.errors import PreconditionError, TestgroveError
from testgrove.system.undeletable import require_deletable

KEPT, KEPT_DAYS = 8, 7  # how many worktrees with failures are kept, and how long


@frozen
class RemovalOptions:
    """How a worktree is removed.

    force: what is the user's in it is lost. bulk: the user has not named it. Only its full id means it, and commits
    that came from a ref which is gone are kept under another, instead of stopping the removal.
    """

    force: bool = False
    bulk: bool = False


def remove(
    project: Project,
    holder: Holder,
    name: str,
    options: RemovalOptions = RemovalOptions(),  # noqa: B008 - it is frozen
) -> Worktree:
    """Remove a worktree; the note reports what failed or was kept.

    Raises PreconditionError if it contains the user's work, unless forced; and, before anything is changed, if
    something in it cannot be deleted (``undeletable``).
    """
    worktree = records.with_id(project, name) if options.bulk else records.named(project, name, whole=True)
    _require_outside(worktree.path)
    require_no_mounts(worktree, "removed")
    require_deletable(worktree.path, f"worktree {worktree.id} cannot be removed")
    taken = records.take_to_remove(project, holder, worktree)
    removal = Removal(project.around(worktree.directory), holder, taken, options)
    removal.work()
    records.publish(project, holder)
    notes = [*removal.notes, *map(str, shared_changes(project, worktree.path))]
    return replace(removal.worktree, note="\nnote: ".join(notes))


@dataclass
class Removal:
    """One worktree being removed. The plan decides what happens; this only obeys it. notes: what was done, and kept."""

    project: Project
    holder: Holder
    worktree: WorktreeRecord
    options: RemovalOptions
    notes: list[str] = field(default_factory=list)
    findings: Findings = field(default_factory=Findings.nothing)

    def work(self) -> None:
        """Steps 2 to 9. Until it is decided, whatever fails leaves the worktree as it was."""
        plan = lifecycle.remove(teardown=bool(self.project.settings.teardown))
        decided = len(plan) - len(lifecycle.undo())
        try:
            for action in plan[:decided]:
                self.perform(action)
        except BaseException:
            records.update(self.project.store, self.worktree, holder=None)
            raise
        self.worktree = set_removing(self.project.store, self.worktree)
        try:
            for action in plan[decided:]:
                self.perform(action)
        except TestgroveError as error:
            set_broken(self.project.store, self.worktree, error.message)
            raise

    def perform(self, action: Action) -> None:
        """Carry out one action of the plan."""
        {
            Action.EXAMINE: self._examine,
            Action.RUN_TEARDOWN: self._run_teardown,
            Action.EXAMINE_AGAIN: self._examine_again,
            Action.COLLECT_OUTPUTS: self._collect_outputs,
            Action.KEEP_COMMITS: self._keep_commits,
            Action.UNDO_LEASES: self._undo_leases,
            Action.FORGET: self._forget,
        }[action]()

    def _examine(self) -> None:
        self.findings = _examined(self.project, self.worktree, self.options)

    def _run_teardown(self) -> None:
        failed = _tear_down(self.project, self.holder, self.worktree, force=self.options.force)
        self.notes += [failed] if failed else []

    def _examine_again(self) -> None:
        self.findings = _examined_again(self.project, self.worktree, self.options)

    def _collect_outputs(self) -> None:
        collect_outputs(self.project, self.worktree, self.findings.outputs)

    def _keep_commits(self) -> None:
        repository = self.project.repository
        self.notes += [] if self.options.force else rescue(repository, self.worktree, self.findings.unheld)
        let_go_of_anothers(self.project.store, repository, self.worktree)

    def _undo_leases(self) -> None:
        self.notes += undo(self.holder, records.leases_of(self.project.store, self.worktree))

    def _forget(self) -> None:
        records.delete(self.project.store, self.worktree)


def _examined(project: Project, worktree: WorktreeRecord, options: RemovalOptions) -> Findings:
    """Return what is in the worktree, once it is certain that it may be removed."""
    findings = _looked_at(project, worktree, options, examine)
    if not options.force:
        findings.require_nothing_of_the_users(worktree, "removed", rescuing=options.bulk)
    return findings


def _examined_again(project: Project, worktree: WorktreeRecord, options: RemovalOptions) -> Findings:
    """The same after teardown, which may write files as it likes."""
    if not options.force:
        examine_records(project, worktree).require_nothing_of_the_users(worktree, "removed", rescuing=options.bulk)
    return _looked_at(project, worktree, options, examine)


def _looked_at(
    project: Project,
    worktree: WorktreeRecord,
    options: RemovalOptions,
    look: Callable[[Project, WorktreeRecord], Findings],
) -> Findings:
    try:
        return look(project, worktree)
    except TestgroveError:
        if options.force:
            return Findings.nothing()  # git can no longer read it, and the user accepts the loss
        raise


def _tear_down(project: Project, holder: Holder, worktree: WorktreeRecord, *, force: bool) -> str:
    """Run the teardown commands: those that are configured now, or those that an undo did not complete.

    If one fails, the worktree is kept, with a note; with force, the failure is returned.
    """
    leases, commands = records.leases_of(project.store, worktree), project.settings.teardown
    known = [lease for lease in leases.all() if lease.kind == LeaseKind.TEARDOWN]
    if worktree.status != WorktreeStatus.BROKEN and (known or commands):
        record_teardown(project, worktree, commands)
    try:
        undo(holder, leases, LeaseKind.TEARDOWN)
    except TestgroveError as error:
        if force:
            leases.forget(*(lease for lease in leases.all() if lease.kind == LeaseKind.TEARDOWN))
            return error.message
        error.hint += f"; to remove it anyway: testgrove remove {worktree.id} --force"
        records.update(project.store, worktree, holder=None, note=error.message.splitlines()[0])
        raise
    return ""


def _require_outside(tree: Path) -> None:
    """Refuse to remove a folder that contains this program: modules that are imported later must still be there."""
    if Path(sys.prefix).is_relative_to(tree):
        raise PreconditionError(
            "own-environment",
            f"refusing to remove {tree}: this testgrove is installed in its environment (.venv)",
            hint="use a testgrove that is installed elsewhere: deactivate",
        )


def trim_kept(project: Project, holder: Holder) -> list[str]:
    """Remove the kept worktrees over KEPT in number, and those older than KEPT_DAYS; notes on them."""
    kept = [worktree for worktree in records.all_of(project) if records.is_kept(worktree)]
    kept.sort(key=lambda worktree: worktree.parked or 0.0, reverse=True)
    oldest = time.time() - KEPT_DAYS * 86400
    going = [each for n, each in enumerate(kept) if n >= KEPT or (each.parked or 0.0) < oldest]
    return _remove_quietly(project, holder, going)


def trim_parked(project: Project, holder: Holder, keep: int) -> list[str]:
    """Remove the parked worktrees over a number, the oldest first; notes on them."""
    parked = [worktree for worktree in records.all_of(project) if worktree.status == WorktreeStatus.PARKED]
    parked.sort(key=lambda worktree: worktree.parked or 0.0, reverse=True)
    return _remove_quietly(project, holder, parked[keep:])


def _remove_quietly(project: Project, holder: Holder, worktrees: Sequence[WorktreeRecord]) -> list[str]:
    notes = []
    for worktree in worktrees:
        # The user's files, a failed teardown, or another holder: it stays, and `list` shows it.
        with isolated(f"remove {worktree.id}", lambda _error: None):
            removed = remove(project, holder, str(worktree.id), RemovalOptions(bulk=True))
            notes += [f"removed {removed.id}: {removed.note}"] if removed.note else []
    return notes
