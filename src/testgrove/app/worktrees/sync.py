"""`sync`: updates a user's worktree and keeps the user's work unchanged.

1. The ref's newest commit in this repository, if it is a fast-forward and nothing is modified.
2. `copy`: files whose source changed and that were not edited here.
3. The environment, if it is missing or its dependencies have changed; otherwise one that was made by hand stays.
4. `setup`, if 1 or 3 changed something.
5. The env file and the metadata; then the check that tests would exercise this tree.

The plan is core.worktrees.lifecycle.sync(). It is stored before the first step, and each step is taken from it when it
is done. A sync that fails or is killed leaves the rest on record, and the next one plans that again. Files of each step
are recorded as testgrove's at once.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Unpack

from testgrove.app.holder import Holder
from testgrove.app.project import Project
from testgrove.app.subprojects import directory_of
from testgrove.app.tools import SupervisedTool
from testgrove.app.worktrees import client_programs, copies, hooks, records
from testgrove.app.worktrees.environment import build_environment, plan_environment, with_version
from testgrove.app.worktrees.files import let_go, refresh
from testgrove.app.worktrees.history import is_anothers
from testgrove.app.worktrees.ownership import (
    manifest_of,
    require_forward,
    require_published_clones,
    require_untouched_submodules,
)
from testgrove.app.worktrees.preflight import foreign_checkouts
from testgrove.app.worktrees.shared_git import shared_changes
from testgrove.app.worktrees.user_commands import environ_of
from testgrove.app.worktrees.workspace import OnPhase
from testgrove.core.environments.plan import EnvironmentPlan
from testgrove.core.model import Lease, LeaseKind, WorktreeStatus
from testgrove.core.runs.plan import Action
from testgrove.core.worktrees import lifecycle
from testgrove.core.worktrees.ownership import Manifest, ManifestEntry
from testgrove.core.worktrees.record import Changes, WorktreeRecord
from testgrove.errors import PreconditionError
from testgrove.system import files, git
from testgrove.system.environment import build
from testgrove.system.environment import by_hand as environment_by_hand
from testgrove.system.environment import record as environment_record
from testgrove.system.preflight import check
from testgrove.system.processes.process import run


def sync(
    project: Project, holder: Holder, name: str, *, on_phase: OnPhase, on_output: hooks.OnOutput = hooks.unseen
) -> Syncing:
    """Bring a worktree up to date. Raises PreconditionError where its ref's newest commit cannot be taken, after
    everything else is done."""
    worktree = records.named(project, name)
    if worktree.status == WorktreeStatus.PARKED:
        message = f"worktree {worktree.id} is parked: the next run or `create` of that id updates it"
        raise PreconditionError("worktree-parked", message, hint="testgrove list")
    worktree = records.take(project, holder, worktree, WorktreeStatus.READY)
    syncing = Syncing(project.around(worktree.directory), holder, worktree, on_phase, on_output)
    try:
        syncing.work()
    finally:
        let_go(project.store, syncing.worktree)
        records.publish(project, holder)
    return syncing


@dataclass
class Syncing:
    """One worktree being brought up to date. worktree: its record now. done: what was changed; notes: what was not,
    and why."""

    project: Project
    holder: Holder
    worktree: WorktreeRecord
    on_phase: OnPhase
    on_output: hooks.OnOutput
    done: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    _newest: tuple[str, str] = ("", "")  # the ref's name and the commit to take; empty if there is none
    _refusal: PreconditionError | None = None  # why the newest commit was not taken

    def __post_init__(self) -> None:
        self._unfinished = self.worktree.plan  # of a sync that failed or was killed

    @cached_property
    def tree(self) -> Path:
        """The checkout's folder."""
        return self.worktree.path

    def work(self) -> None:
        """Take all steps."""
        self._require_checkout()
        self._find_newest()
        self._carry_out()

    def repair(self) -> None:
        """Take all steps, but no newer commit."""
        self._require_checkout()
        self._carry_out()

    def advance(self, label: str, commit: str) -> None:
        """Take all steps, and this commit for the newest one. label: its name."""
        self._require_checkout()
        self._decide(label, git.head_of(self.tree)[0], commit)
        self._carry_out()

    def _carry_out(self) -> None:
        head, branch = git.head_of(self.tree)
        self.update(note="", branch=branch, commit=head, plan=self._plan())
        while self.worktree.plan:
            action = Action(self.worktree.plan[0])
            self.perform(action)
            self.update(plan=lifecycle.after(self.worktree.plan, action))
        if self._refusal:
            self._refusal.add_note("everything else is up to date")
            raise self._refusal

    def _plan(self) -> tuple[Action, ...]:
        settings = self.project.settings
        forward = bool(self._newest[1])
        return lifecycle.sync(
            forward=forward or Action.FAST_FORWARD in self._unfinished,
            copy=bool(settings.copy) or copies.has_include(self.project.main),
            environment=bool(self.worktree.python),
            setup=bool(settings.setup) and (forward or Action.RUN_SETUP in self._unfinished),
        )

    def perform(self, action: Action) -> None:
        """Carry out one action of the plan."""
        {
            Action.FAST_FORWARD: self._fast_forward,
            Action.COPY_FILES: self._copy,
            Action.BUILD_ENVIRONMENT: self._environment,
            Action.RUN_SETUP: self._set_up,
            Action.WRITE_FILES: self._write_files,
            Action.PREFLIGHT: self._preflight,
        }[action]()

    def _require_checkout(self) -> None:
        repository = self.project.repository
        if not git.is_checkout(repository, self.tree) or is_anothers(repository, self.worktree):
            message = f"{self.tree} is missing, or is not the checkout that testgrove made"
            raise PreconditionError("no-checkout", message, hint=f"testgrove remove {self.worktree.id}")

    def update(self, **changes: Unpack[Changes]) -> None:
        """Change the worktree's record."""
        self.worktree = records.update(self.project.store, self.worktree, **changes)

    @property
    def _manifest(self) -> Manifest:
        return manifest_of(self.worktree) or Manifest()

    def _remember(self, paths: Iterable[str]) -> None:
        """Record the current state of these files as testgrove's."""
        fresh = Manifest.of(files.entries(self.tree, paths)).entries
        self.update(manifest=Manifest({**self._manifest.entries, **fresh}).dump())

    def _find_newest(self) -> None:
        """Find the commit to take, or why it cannot be taken. Changes nothing."""
        self.on_phase("worktree", "")
        head, branch = git.head_of(self.tree)
        label, commit = git.upstream_of(self.tree, branch) if branch else self._resolved()
        if commit and not git.is_ancestor(self.tree, commit, head):
            self._decide(label, head, commit)

    def _decide(self, label: str, head: str, commit: str) -> None:
        try:
            require_forward(self.worktree, label, head, commit)
            self._newest = label, commit
        except PreconditionError as refusal:
            self._refusal = refusal

    def _fast_forward(self) -> None:
        """Take the newest commit. If a killed sync has taken it, only what belongs to it is left."""
        head = self.worktree.commit
        if self._newest[1]:
            self._take_newest()
        label, commit = self._newest
        if not commit:
            if Action.FAST_FORWARD not in self._unfinished:
                return
            require_untouched_submodules(self.project.repository, self.worktree)
        tool = SupervisedTool(self.project, self.holder)
        git.update_submodules(self.tree, tool, keep_files=True)
        if self.project.settings.lfs:
            git.fetch_lfs(self.tree, tool)
        if commit:
            self.update(commit=commit)
            self.done.append(f"commit: {head[:10]} -> {commit[:10]} ({label})")

    def _take_newest(self) -> None:
        """Move to the newest commit; if git refuses, there is none to take, and the plan is another one."""
        commit = self._newest[1]
        try:
            self.update(own_commits=(*self.worktree.own_commits, commit))
            git.fast_forward(self.tree, commit)
        except PreconditionError as refusal:
            self._refusal, self._newest = refusal, ("", "")
            self.update(plan=self._plan())

    def _resolved(self) -> tuple[str, str]:
        """Return the commit that the worktree's ref means now."""
        ref = self.worktree.ref
        try:
            return ref, git.resolve(self.project.repository, ref).commit if ref else ""
        except PreconditionError:
            self.notes.append(f"commit: {ref} not found")
            return ref, ""

    def _copy(self) -> None:
        settings = self.project.settings
        sources = copies.find_sources(
            self.project.main, self.project.from_top(settings.copy), copies.never_copied(self.worktree.env_file)
        )
        renewed = copies.renew(self.tree, sources, self._manifest, self._lease_temporary)
        self._remember([*renewed.copied, *renewed.ours])
        self.done += [f"copied: {path}" for path in renewed.copied]
        self.notes += [*sources.notes, *(f"kept: {each}" for each in renewed.kept)]

    def _lease_temporary(self) -> None:
        self.holder.leases.record(Lease(LeaseKind.DIRECTORY, str(self.tree / copies.TEMPORARY)))

    def _environment(self) -> None:
        self._update_environment()
        if written := client_programs.provide(self.worktree):
            self.done.append(f"environment: added {', '.join(written)}")

    def _update_environment(self) -> None:
        self.on_phase("environment", "")
        recorded = environment_record.EnvironmentRecord.from_json(self.worktree.environment)
        by_hand = self._accepted(recorded)
        python = recorded.interpreter if recorded and Path(recorded.interpreter).exists() else self.worktree.python
        commit = self.worktree.commit
        plan = plan_environment(
            self.project,
            self.tree,
            python=python,
            deps=(self.worktree.environment or {}).get("deps") or None,
            tree_hash=git.tree_of(self.project.repository, commit),
            directory=self.worktree.directory,
        )
        reason = environment_record.outdated(self.tree, plan, recorded) if recorded else "it has no record"
        if reason is None:
            if by_hand:
                self.notes.append(f"environment: kept; it was made by hand with Python {self.worktree.python}")
            elif recorded is not None:
                self._version(plan, recorded)
            return
        self.on_phase("environment", reason)
        require_published_clones(self.worktree)
        self._plan_setup()
        self.update(environment={"deps": plan.deps})  # no record of an environment, until it is whole
        record = build_environment(self.project, self.holder, self.tree, plan)
        record = with_version(self.project, self.holder, self.tree, plan, record, commit=commit, fresh=True)
        self.update(environment=record.to_json(), python=record.python)
        self._remember(record.built)
        self.done.append(f"environment: rebuilt: {reason}")
        self.notes += record.notes

    def _plan_setup(self) -> None:
        if self.project.settings.setup:
            self.update(plan=lifecycle.with_setup(self.worktree.plan))

    def _version(self, plan: EnvironmentPlan, recorded: environment_record.EnvironmentRecord) -> None:
        """Bring a version that comes from git up to date; packages that the user has installed stay."""
        commit = self.worktree.commit
        record = with_version(self.project, self.holder, self.tree, plan, recorded, commit=commit, fresh=False)
        if record != recorded:
            self._plan_setup()
            self.update(environment=record.to_json())
            self.done.append("environment: updated the version from git")

    def _accepted(self, recorded: environment_record.EnvironmentRecord | None) -> bool:
        """Return whether the environment was made by hand. A missing one is rebuilt; another Python is an error."""
        again = f"rm -rf {shlex.quote(str(self.tree))}/.venv; testgrove sync {self.worktree.id}"
        try:
            return environment_by_hand.require_environment(
                self.tree, recorded, self.worktree.python, mend=(again, again)
            )
        except PreconditionError as error:
            if error.code == "no-environment" and not (self.tree / ".venv").is_symlink():
                return False
            raise

    def _set_up(self) -> None:
        commands = self.project.settings.setup
        before = self._entries()
        self.on_phase("setup", "")
        hooks.record_teardown(self.project, self.worktree, self.project.settings.teardown)
        log = self.project.artifacts / str(self.worktree.id) / "setup.log"
        try:
            hook = hooks.Hook("setup", commands, self.project.folder_in(self.tree, ""), log, hooks.SETUP_TIMEOUT)
            hook.run(self.holder.supervisors, environ_of(self.tree, self.worktree.env_file), self.on_output)
        finally:
            self._remember(self._written_since(before))
        self.done.append("setup: run again")
        self.notes += [str(change) for change in shared_changes(self.project, self.tree)]
        record = environment_record.EnvironmentRecord.from_json(self.worktree.environment)
        if record is not None:
            self.update(environment=environment_record.resealed(self.tree, record).to_json())

    def _write_files(self) -> None:
        if refreshed := refresh(self.project, self.worktree):
            self.worktree = refreshed
        else:
            self.notes.append(f"kept: {self.worktree.env_file}: edited here")

    def _entries(self) -> dict[str, ManifestEntry]:
        state = git.status(self.tree)
        found = files.entries(self.tree, [*state.untracked, *state.nested, *state.modified])
        return {entry.path: entry for entry in found}

    def _written_since(self, before: dict[str, ManifestEntry]) -> list[str]:
        """Record the files that set-up certainly wrote: the user may be working here at the same time.

        These are files that were testgrove's, and new ones that git ignores.
        """
        changed = [path for path, entry in self._entries().items() if before.get(path) != entry]
        new = [path for path in changed if path not in before]
        manifest, ignored = self._manifest, git.ignored_among(self.tree, new)
        return [path for path in changed if path in ignored or (path in before and manifest.holds(before[path]))]

    def _preflight(self) -> None:
        self.on_phase("preflight", "")
        record = environment_record.EnvironmentRecord.from_json(self.worktree.environment)
        assert record is not None
        as_made = environment_record.is_as_made(self.tree, record)
        current = git.tree_of(self.project.repository, self.worktree.commit)
        check.check(
            tree=self.tree,
            python=build.python_of(self.tree),
            env=environ_of(self.tree, self.worktree.env_file),
            foreign=foreign_checkouts(self.project, self.tree),
            run=partial(run, check=False),
            recorded_python=self.worktree.python if as_made else ".".join(self.worktree.python.split(".")[:2]),
            installed=check.InstalledRecord(record.tree_hash, current) if as_made else None,
            directory=directory_of(self.tree, self.tree / self.worktree.directory),
        )
