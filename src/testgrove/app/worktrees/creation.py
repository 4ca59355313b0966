"""Performing the actions that make a worktree ready."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Unpack

from testgrove.app.port_leases import lease_worktree_ports
from testgrove.app.project import Project
from testgrove.app.tools import SupervisedTool
from testgrove.app.worktrees import client_programs, copies, nested_root, records
from testgrove.app.worktrees.environment import build_environment, plan_environment, with_version
from testgrove.app.worktrees.files import METADATA, write_files
from testgrove.app.worktrees.hooks import SETUP_TIMEOUT, Hook, record_teardown
from testgrove.app.worktrees.ownership import manifest_of, take_manifest
from testgrove.app.worktrees.preflight import ask_ahead, run_preflight
from testgrove.app.worktrees.shared_git import shared_changes
from testgrove.app.worktrees.workspace import Workspace
from testgrove.core.environments.plan import EnvironmentPlan
from testgrove.core.model import Lease, LeaseKind
from testgrove.core.runs.plan import Action
from testgrove.core.worktrees.ownership import Manifest
from testgrove.core.worktrees.record import Changes, WorktreeRecord
from testgrove.errors import PreconditionError, TestgroveError, UnavailableError
from testgrove.system import git, mounts
from testgrove.system.environment import products
from testgrove.system.environment import record as environment_record
from testgrove.system.files import require_free
from testgrove.system.preflight.check import AskedAhead
from testgrove.system.processes.process import run
from testgrove.system.undeletable import CODE as UNDELETABLE
from testgrove.system.undeletable import require_deletable

FREE_BYTES = 64 * 1024**2
_IN_TRASH = "testgrove doctor   lists what is left of it in the trash"


@dataclass
class Creation(Workspace):
    """One worktree in the making. The plan decides what happens; this only obeys it."""

    worktree: WorktreeRecord = field(kw_only=True)
    record: environment_record.EnvironmentRecord | None = None
    _asked: AskedAhead | None = None

    @property
    def tree(self) -> Path:
        """Implement Workspace."""
        return self.worktree.path

    @property
    def ports(self) -> Mapping[str, int]:
        """Implement Workspace."""
        return self.worktree.ports

    @property
    def python(self) -> str:
        """Implement Workspace."""
        return self.worktree.python

    @property
    def manifest(self) -> Manifest | None:
        """Implement Workspace."""
        return manifest_of(self.worktree)

    def perform(self, action: Action) -> None:
        """Carry out one action of the plan."""
        {
            Action.LEASE_PORTS: self._lease_ports,
            Action.ADD_CHECKOUT: self._add_checkout,
            Action.CHECK_OUT_FILES: self._check_out_files,
            Action.RETARGET_CHECKOUT: self._retarget_checkout,
            Action.COPY_FILES: self._copy_files,
            Action.BUILD_ENVIRONMENT: self._build_environment,
            Action.MAKE_DATABASES: self._make_databases,
            Action.WRITE_FILES: self._write_files,
            Action.RUN_SETUP: self._run_setup,
            Action.PREFLIGHT: self._preflight,
            Action.TAKE_MANIFEST: self._take_manifest,
        }[action]()

    def close(self) -> None:
        """End what was begun for a later action."""
        if self._asked is not None:
            self._asked.close()

    def update(self, **changes: Unpack[Changes]) -> None:
        """Change the worktree's record."""
        self.worktree = records.update(self.project.store, self.worktree, **changes)

    def _lease_ports(self) -> None:
        leases = records.leases_of(self.project.store, self.worktree)
        self.update(ports=lease_worktree_ports(self.project, leases, self.spec.ports))

    def _add_checkout(self) -> None:
        project, spec = self.project, self.spec
        self.on_phase("worktree", "")
        self._refuse_tracked_names()
        self._refuse_known_branch()
        require_free(project.root, FREE_BYTES)
        git.exclude(project.repository, git_excluded(project))
        where = project.lease_data()
        leases = records.leases_of(project.store, self.worktree)
        mount = {"mount": str(mounts.mount_point_of(self.tree))}
        leases.record(Lease(LeaseKind.CHECKOUT, str(self.tree), where | mount))
        nested_root.guard(project)
        if spec.new_branch:
            leases.record(
                Lease(
                    LeaseKind.BRANCH,
                    f"{project.id}:{spec.new_branch}",
                    where | {"branch": spec.new_branch, "commit": self.target.commit},
                )
            )
        detached = git.add_checkout(
            project.repository,
            self.tree,
            self.target.commit,
            branch=self.target.branch or None,
            new_branch=spec.new_branch,
            on_wait=partial(self.on_phase, "worktree"),
        )
        nested_root.guard(project)  # the removal of the last worktree may have deleted the folder
        branch = "" if detached else spec.new_branch or self.target.branch
        ref = spec.new_branch or spec.ref or ""
        self.update(branch=branch, commit=self.target.commit, own_commits=(self.target.commit,), ref=ref)
        if detached and self.target.branch:
            self.notes.append(f"{self._why_detached()}: detached at the same commit")

    def _why_detached(self) -> str:
        branch = self.target.branch
        paths = [each.path for each in git.checkouts(self.project.repository) if each.branch == branch]
        return (
            f"{branch} is checked out in {paths[0]}" if paths else f"{branch} is being rebased or bisected, or moved on"
        )

    def _refuse_tracked_names(self) -> None:
        names = [self.project.settings.env_file, METADATA]
        for name in git.tracked_at(self.project.repository, self.target.commit, names):
            hint = 'choose another name: [tool.testgrove] env_file = ".env.testgrove"'
            raise PreconditionError(
                "name-tracked",
                f"{name} is tracked at {self.target.label}; refusing to overwrite it",
                hint=f"git rm --cached {name}" if name == METADATA else hint,
            )

    def _refuse_known_branch(self) -> None:
        """Check before the lease: an existing branch must never be undone, even at the same commit."""
        branch = self.spec.new_branch
        if branch and git.has_branch(self.project.repository, branch):
            raise PreconditionError(
                "branch-exists",
                f"branch '{branch}' already exists",
                hint=f"remove --new-branch to use it, or choose another name (see: git branch --list '{branch}*')",
            )

    def _check_out_files(self) -> None:
        self._fetching(git.populate)
        self._require_directory()

    def _retarget_checkout(self) -> None:
        self.on_phase("worktree", "")
        self._refuse_tracked_names()
        nested_root.guard(self.project)
        git.take_own_settings(self.project.repository, self.tree)
        built = environment_record.EnvironmentRecord.from_json(self.worktree.environment)
        aside = built is not None and products.set_aside(self.tree, built)
        try:
            self._fetching(git.retarget)
        except TestgroveError as error:
            self._name_undeletable(error)
            raise
        if built is not None and aside:
            products.put_back(self.tree, built, self.target.commit, self._sources().files)
        self._require_directory()
        commit, ref = self.target.commit, self.spec.ref or ""
        # Not before the metadata of its last life are gone: two times that differ are another's checkout.
        created = datetime.now(UTC)
        self.update(branch="", commit=commit, own_commits=(commit,), manifest="", ref=ref, created=created)

    def _require_directory(self) -> None:
        if not self.directory.is_dir():
            raise PreconditionError(
                "no-directory",
                f"the folder '{self.spec.directory}' does not exist at {self.target.label}",
                hint=f"git ls-tree -d {self.target.commit[:10]}   lists its folders",
            )

    def _name_undeletable(self, error: TestgroveError) -> None:
        """Raise another error if git failed at a file that cannot be deleted; the undo moves it to the trash."""
        try:
            require_deletable(self.tree, f"worktree {self.worktree.id} cannot be recycled", flags=True)
        except PreconditionError as reason:
            reason.hint = _IN_TRASH
            raise reason from error

    def _fetching(self, check_out: Callable[..., None]) -> None:
        """Check files out, with submodules, and those of LFS where they are asked for."""
        tool = SupervisedTool(self.project, self.holder)
        try:
            check_out(self.tree, self.target.commit, run=tool)
            if self.project.settings.lfs:
                git.fetch_lfs(self.tree, tool)
        except UnavailableError as error:
            if self.project.offline:
                error.add_note("--offline: not fetching")
            raise

    def _sources(self) -> copies.Sources:
        """The files to copy. A plan without that step has none."""
        settings = self.project.settings
        ours = copies.never_copied(settings.env_file)
        return copies.find_sources(self.project.main, self.project.from_top(settings.copy), ours)

    def _copy_files(self) -> None:
        sources = self._sources()
        self.notes += sources.notes
        copies.copy_all(self.tree, sources, snapshot=self.spec.ref is None)

    def _run_setup(self) -> None:
        settings = self.project.settings
        record_teardown(self.project, self.worktree, settings.teardown)
        if settings.setup:
            self.on_phase("setup", settings.setup[0] if len(settings.setup) == 1 else "")
            log = self.logs / str(self.worktree.id) / "setup.log"
            hook = Hook("setup", settings.setup, self.home, log, SETUP_TIMEOUT)
            hook.run(self.holder.supervisors, self.environ(), self.on_output)
            self.note_shared_changes()
            client_programs.provide(self.worktree)  # set-up may have made the environment anew
        if self.record is not None:
            self.record = environment_record.resealed(self.tree, self.record)
            self.update(environment=self.record.to_json())

    def note_shared_changes(self) -> None:
        """Note what in the shared git directory has come to point into this worktree."""
        found = [str(change) for change in shared_changes(self.project, self.tree)]
        self.notes += [note for note in found if note not in self.notes]

    def _build_environment(self) -> None:
        try:
            self._have_environment()
        except PreconditionError as error:
            if error.code == UNDELETABLE:  # of a recycled worktree, which the undo moves to the trash
                error.hint = _IN_TRASH
            raise

    def _have_environment(self) -> None:
        self.on_phase("environment", "")
        self._asked = ask_ahead(self, self.worktree)
        plan = plan_environment(
            self.project,
            self.tree,
            python=self.spec.python,
            deps=self.spec.deps,
            tree_hash=self.target.tree,
            directory=self.spec.directory,
            script_python=self.spec.script_python,
        )
        self.plan = plan
        if self.making is not None and not self.project.settings.migrate_after_setup:
            self.making.begin(self)
        recorded = self.worktree.environment
        self.record = environment_record.EnvironmentRecord.from_json(recorded) if recorded else None
        reason = self._why_anew(plan, self.record) if self.record else ""
        self.on_phase("environment", " · ".join(filter(None, [plan.contents.line, reason])))
        if reason is not None or plan.versioned:
            self.close()  # the interpreter is asked about what there will be
        if reason is not None:
            self.record = self._build(plan)
            self.update(environment=self.record.to_json())
        assert self.record is not None
        before, commit = self.record, self.target.commit
        self.record = with_version(
            self.project, self.holder, self.tree, plan, before, commit=commit, fresh=reason is not None
        )
        if self.record != before:
            self.update(environment=self.record.to_json())
        self.notes += self.record.notes
        self.update(python=self.record.python)

    def _why_anew(self, plan: EnvironmentPlan, record: environment_record.EnvironmentRecord) -> str | None:
        """Why the environment has to be built again; None where it can stay."""
        made_from = self._made_from(record)
        reason = environment_record.check(self.tree, plan, record, made_from)
        if reason is None and made_from:
            self.record = replace(record, tree_hash=plan.tree_hash)
            self.update(environment=self.record.to_json())
        return reason

    def _build(self, plan: EnvironmentPlan) -> environment_record.EnvironmentRecord:
        record = build_environment(self.project, self.holder, self.tree, plan)
        return replace(record, made_from=self._made_from(record))

    def _made_from(self, record: environment_record.EnvironmentRecord) -> str:
        if not record.products:
            return ""
        copied = {path: self.tree / path for path in self._sources().files}
        return products.made_from(self.tree, self.target.commit, record.built, copied)

    def _make_databases(self) -> None:
        if self.making is not None:
            if self.project.settings.migrate_after_setup:  # its inputs may be what set-up generates
                self.making.begin(self)
            self.databases = self.making.finish()

    def _write_files(self) -> None:
        self.worktree = write_files(self.project, self.worktree, self.databases).worktree
        if self.spec.script_python is not None:
            client_programs.mark(self.tree)
        client_programs.provide(self.worktree)

    def _preflight(self) -> None:
        self.on_phase("preflight", "")
        assert self.record is not None
        run_preflight(self, self.record, self._asked.run if self._asked else partial(run, check=False))

    def _take_manifest(self) -> None:
        self.update(manifest=take_manifest(self.tree))


def git_excluded(project: Project) -> tuple[str, ...]:
    """The names testgrove writes into checkouts, for ``info/exclude``."""
    return (project.settings.env_file, METADATA, records.REGISTRY, "/test-artifacts/")
