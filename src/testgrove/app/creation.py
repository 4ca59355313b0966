"""Performing the actions that make a worktree ready."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Protocol

from testgrove.app import records
from testgrove.app.holder import Holder
from testgrove.app.ownership import take_manifest
from testgrove.app.project import Project
from testgrove.core.config import expand_env, port_range
from testgrove.core.declared import read_declared
from testgrove.core.envfile import render
from testgrove.core.environment_plan import EnvironmentPlan
from testgrove.core.events import Phase
from testgrove.core.model import DatabaseAccess, Lease, LeaseKind, WorktreeSpec
from testgrove.core.plan import Action
from testgrove.core.variables import variables
from testgrove.errors import PreconditionError
from testgrove.system import environment, environment_record, git, interpreters, preflight
from testgrove.system.files import atomic_write, make_ignoring_itself, require_free
from testgrove.system.ports import lease_block
from testgrove.system.process import Completed, run, scrubbed
from testgrove.system.store import Row
from testgrove.system.supervision import supervised_run

METADATA = ".worktree-metadata.json"
OnPhase = Callable[[Phase, str], None]
FREE_BYTES = 64 * 1024**2


@dataclass(frozen=True)
class Target:
    """What is checked out. branch: a local branch to be on, or empty. label: as people call it."""

    commit: str
    tree: str
    branch: str
    label: str


class DatabasesInTheMaking(Protocol):
    """A worktree's databases, which are made while its environment is."""

    def begin(self, creation: Creation) -> None:
        """The checkout is complete, and what its environment will hold is known (``plan``)."""

    def finish(self) -> Mapping[str, DatabaseAccess]:
        """The environment is ready; wait for the databases."""

    def abandon(self) -> None:
        """The creation has failed: return when nothing is being made any more."""


@dataclass
class Creation:
    """One worktree in the making. The plan decides what happens; this only obeys it."""

    project: Project
    holder: Holder
    spec: WorktreeSpec
    target: Target
    row: Row
    on_phase: OnPhase
    making: DatabasesInTheMaking | None = None
    suite_env: Mapping[str, str] = field(default_factory=dict)
    databases: Mapping[str, DatabaseAccess] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    plan: EnvironmentPlan | None = None
    record: environment_record.EnvironmentRecord | None = None

    @property
    def tree(self) -> Path:
        """The checkout's folder."""
        return Path(self.row["path"])

    def perform(self, action: Action) -> None:
        """Carry out one action of the plan."""
        {
            Action.LEASE_PORTS: self._lease_ports,
            Action.ADD_CHECKOUT: self._add_checkout,
            Action.CHECK_OUT_FILES: self._check_out_files,
            Action.RETARGET_CHECKOUT: self._retarget_checkout,
            Action.BUILD_ENVIRONMENT: self._build_environment,
            Action.MAKE_DATABASES: self._make_databases,
            Action.WRITE_FILES: self._write_files,
            Action.PREFLIGHT: self._preflight,
            Action.TAKE_MANIFEST: self._take_manifest,
        }[action]()

    def environ(self) -> dict[str, str]:
        """What a command in this worktree sees: ours scrubbed, its environment active, its variables set."""
        return self.environ_with(self.databases)

    def environ_with(self, databases: Mapping[str, DatabaseAccess]) -> dict[str, str]:
        """environ(), as if these were the worktree's databases."""
        base = environment.activate(scrubbed(), self.tree) if self.spec.environment else scrubbed()
        return base | self._values(databases)

    def suite_environ(self) -> dict[str, str]:
        """environ(), with the variables of the suite that is to run."""
        environ = self.environ()
        return environ | expand_env(dict(self.suite_env), environ, source="the suite's 'env")

    def _update(self, **values: object) -> None:
        records.update(self.project.store, self.row, **values)

    def _lease_ports(self) -> None:
        settings = self.project.settings.ports
        leases = records.leases_of(self.project.store, self.row)
        self._update(ports=lease_block(leases, port_range(settings.range), self.spec.ports))

    def _add_checkout(self) -> None:
        project, spec = self.project, self.spec
        self.on_phase("worktree", "")
        self._refuse_tracked_names()
        self._refuse_known_branch()
        require_free(project.root, FREE_BYTES)
        git.exclude(project.repository, git_excluded(project))
        where = {"common_dir": str(project.repository.common_dir), "main": str(project.main)}
        leases = records.leases_of(project.store, self.row)
        leases.record(Lease(LeaseKind.CHECKOUT, str(self.tree), where))
        self._hide_root()
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
        branch = "" if detached else spec.new_branch or self.target.branch
        self._update(branch=branch, commit_id=self.target.commit, own_commits=[self.target.commit])
        if detached and self.target.branch:
            self.notes.append(f"{self.target.branch} is checked out somewhere else: detached at the same commit")

    def _refuse_tracked_names(self) -> None:
        for name, setting in ((self.project.settings.env_file, "env_file"), (METADATA, "")):
            if git.tracks(self.project.repository, self.target.commit, name):
                hint = f'choose another name: [tool.testgrove] {setting} = ".env.testgrove"' if setting else ""
                raise PreconditionError(
                    "name-tracked",
                    f"{name} is tracked at {self.target.label}, and testgrove writes a file of that name",
                    hint=hint or f"git rm --cached {name}",
                )

    def _hide_root(self) -> None:
        """A root inside the repository ignores itself: its worktrees are not the repository's untracked files."""
        main, root = self.project.main, self.project.root
        if not root.is_relative_to(main) or (root / ".gitignore").exists():
            return
        if git.tracks(self.project.repository, "HEAD", str(root.relative_to(main))):
            return  # a folder that the project uses otherwise, too: its new files must stay visible
        make_ignoring_itself(root)

    def _refuse_known_branch(self) -> None:
        """Before the lease: a branch that was there is never ours to undo, even at the same commit."""
        branch = self.spec.new_branch
        if branch and git.has_branch(self.project.repository, branch):
            raise PreconditionError(
                "branch-exists",
                f"the branch '{branch}' exists already",
                hint=f"leave --new-branch out to be on it, or choose another name: git branch --list '{branch}*'",
            )

    def _check_out_files(self) -> None:
        git.populate(self.tree, self.target.commit, run=self.tool)

    def _retarget_checkout(self) -> None:
        self.on_phase("worktree", "")
        self._refuse_tracked_names()
        git.retarget(self.tree, self.target.commit, run=self.tool)
        self._update(branch="", commit_id=self.target.commit, own_commits=[self.target.commit], manifest="")

    def tool(
        self,
        argv: Sequence[str],
        *,
        cwd: Path,
        env: Mapping[str, str],
        timeout: float,
        check: bool,
        log: Path | None = None,
    ) -> Completed:
        """Run a long tool under a supervisor."""
        return supervised_run(self.holder.supervisors, argv, cwd=cwd, env=env, timeout=timeout, check=check, log=log)

    def _build_environment(self) -> None:
        self.on_phase("environment", "")
        settings = self.project.settings
        uv = environment.find_uv()
        interpreter = interpreters.find(
            self.spec.python,
            requires=_requires_python(self.tree),
            pinned=_text(self.tree / ".python-version"),
            run=run,
        )
        plan = environment.plan(
            self.tree,
            interpreter=interpreter,
            extras=settings.extras,
            groups=settings.groups,
            tree_hash=self.target.tree,
            uv_version=environment.uv_version(uv, run),
        )
        self.plan = plan
        if self.making is not None:
            self.making.begin(self)
        recorded = self.row["environment"]
        self.record = environment_record.EnvironmentRecord.from_json(recorded) if recorded else None
        reason = environment_record.check(self.tree, plan, self.record) if self.record else "made anew"
        if reason is not None:
            self.on_phase("environment", reason)
            temporary = git.git_dir_of(self.tree) / "testgrove-tmp"  # goes with the worktree, whatever happens
            self.record = environment.build(self.tree, plan, uv=uv, run=self.tool, temporary=temporary)
            self._update(environment=self.record.to_json())
        assert self.record is not None
        self.notes += self.record.notes
        self._update(python=self.record.python)

    def _make_databases(self) -> None:
        if self.making is not None:
            self.databases = self.making.finish()

    def _values(self, databases: Mapping[str, DatabaseAccess]) -> dict[str, str]:
        return variables(self.spec.id, ports=self.row["ports"], databases=databases, settings=self.project.settings)

    def _write_files(self) -> None:
        shown = {
            engine: {"name": access.name, "url": access.url(redacted=True)} for engine, access in self.databases.items()
        }
        self._update(databases=shown)
        atomic_write(
            self.tree / self.project.settings.env_file, render(self._values(self.databases)).encode(), mode=0o600
        )
        atomic_write(self.tree / METADATA, (json.dumps(self._metadata(), indent=2) + "\n").encode())

    def _metadata(self) -> dict[str, object]:
        row = self.row
        created = datetime.fromisoformat(row["created"]).strftime("%Y-%m-%dT%H:%M:%SZ")
        metadata: dict[str, object] = {
            "schema": 1,
            "id": row["id"],
            "purpose": row["purpose"],
            "identifier": row["identifier"],
            "branch": row["branch"],
            "commit": row["commit_id"],
            "created": created,
        }
        if row["ports"]:
            metadata["ports"] = row["ports"]
        if row["databases"]:
            if postgres := row["databases"].get("postgres"):
                metadata["database"] = postgres["name"]
            metadata["databases"] = row["databases"]
        return metadata | {"env_file": row["env_file"], "python": row["python"]}

    def _preflight(self) -> None:
        self.on_phase("preflight", "")
        assert self.record is not None
        preflight.check(
            tree=self.tree,
            python=environment.python_of(self.tree),
            env=self.suite_environ(),
            foreign=foreign_checkouts(self.project, self.tree),
            run=partial(run, check=False),
            recorded_python=self.record.python,
            installed=preflight.InstalledRecord(self.record.tree_hash, self.target.tree),
        )

    def _take_manifest(self) -> None:
        self._update(manifest=take_manifest(self.tree))


def git_excluded(project: Project) -> tuple[str, ...]:
    """The names testgrove writes into checkouts, for ``info/exclude``."""
    return (project.settings.env_file, METADATA, records.REGISTRY, "/test-artifacts/")


def foreign_checkouts(project: Project, tree: Path) -> list[Path]:
    """The other checkouts of this repository."""
    return [path for path in git.checkout_paths(project.repository) if path != tree]


def _requires_python(tree: Path) -> str | None:
    names = ("pyproject.toml", "setup.cfg", "setup.py")
    texts = {name: text.encode() for name in names if (text := _text(tree / name)) is not None}
    return read_declared(texts).requires_python


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
