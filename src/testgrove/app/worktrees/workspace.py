"""The workspace of a cell: a folder, with the variables and databases of its commands.

A testgrove worktree is one (creation.Creation); a checkout that is used in place and a scenario's location are
others. This module contains what they share; creating databases, attempts and reports need only this.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from testgrove.app.holder import Holder
from testgrove.app.project import Project
from testgrove.app.worktrees.files import values_of
from testgrove.app.worktrees.hooks import OnOutput, unseen
from testgrove.app.worktrees.user_commands import with_environment
from testgrove.core.environments.plan import EnvironmentPlan
from testgrove.core.frozen import frozen
from testgrove.core.model import DatabaseAccess, WorktreeSpec
from testgrove.core.runs.events import Phase
from testgrove.core.settings.parse import expand_env
from testgrove.core.worktrees.ownership import Manifest
from testgrove.system.processes.process import scrubbed

OnPhase = Callable[[Phase, str], None]


@frozen
class Target:
    """The commit to check out. branch: a local branch to be on, or empty. label: as people call it."""

    commit: str
    tree: str
    branch: str
    label: str


class PendingDatabases(Protocol):
    """A workspace's databases, which are made while its environment is."""

    def begin(self, workspace: Workspace) -> None:
        """The checkout is complete, and what its environment will hold is known (``plan``)."""

    def finish(self) -> Mapping[str, DatabaseAccess]:
        """The environment is ready; wait for the databases."""

    def abandon(self) -> None:
        """Give up after a failed set-up: return when no creation is running."""


@dataclass
class Workspace(ABC):
    """One place where commands run.

    logs: the folder for the output of its set-up, under its id. on_output: receives that output. hint: what to do
    about the last attempt's failure.
    """

    project: Project
    holder: Holder
    spec: WorktreeSpec
    target: Target
    on_phase: OnPhase
    logs: Path
    on_output: OnOutput = unseen
    making: PendingDatabases | None = None
    suite_env: Mapping[str, str] = field(default_factory=dict)
    databases: Mapping[str, DatabaseAccess] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    hint: str = ""
    plan: EnvironmentPlan | None = None

    @property
    @abstractmethod
    def tree(self) -> Path:
        """The checkout's folder."""

    @property
    def directory(self) -> Path:
        """The folder where its commands run."""
        return self.tree / self.spec.directory

    @property
    def home(self) -> Path:
        """The folder of the settings: their other folders are relative to it."""
        return self.project.folder_in(self.tree, "")

    @property
    @abstractmethod
    def ports(self) -> Mapping[str, int]:
        """Its ports, by name."""

    @property
    @abstractmethod
    def python(self) -> str:
        """The version of its Python, in full; empty where it has no environment."""

    @property
    def manifest(self) -> Manifest | None:
        """The list of what set-up and earlier attempts wrote; None where that is not known."""
        return None

    @property
    def database_folder(self) -> Path:
        """The folder of databases that are files."""
        return self.home

    @property
    def environment_elsewhere(self) -> Path | None:
        """The environment, if it is outside the tree."""
        return None

    def environ(self) -> dict[str, str]:
        """Return a command's environment: testgrove's own, scrubbed, with the virtual environment and variables."""
        return self.environ_with(self.databases)

    def environ_with(self, databases: Mapping[str, DatabaseAccess], *, plain: str = "") -> dict[str, str]:
        """environ(), as if these were the workspace's databases. plain: see variables()."""
        return with_environment(scrubbed(), self.tree) | self.values(databases, plain=plain)

    def environ_of(self, service: str, database: DatabaseAccess) -> dict[str, str]:
        """environ(), with one database, which the variables without a service's name mean too. For migrations."""
        return self.environ_with({service: database}, plain=service)

    def suite_environ(self) -> dict[str, str]:
        """environ(), with the variables of the suite that is to run."""
        environ = self.environ()
        return environ | expand_env(dict(self.suite_env), environ, source="the suite's 'env")

    def set_variables(self) -> set[str]:
        """The names of the variables that testgrove and the settings set for the suite."""
        return {*self.values(self.databases), *self.suite_env}

    def own_variables(self) -> Mapping[str, str]:
        """Return the variables that the location itself has set and the suite's environment lacks."""
        return {}

    def values(self, databases: Mapping[str, DatabaseAccess], *, plain: str = "") -> dict[str, str]:
        """The variables that testgrove sets. plain: see variables()."""
        return values_of(self.project, self.spec.id, self.ports, databases, plain=plain)
