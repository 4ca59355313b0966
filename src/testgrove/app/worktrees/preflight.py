"""The preflight of a worktree that is being made ready; its interpreter is asked while the environment is checked."""

from __future__ import annotations

import os
from pathlib import Path

from testgrove.app.project import Project
from testgrove.app.subprojects import directory_of
from testgrove.app.worktrees.workspace import Workspace
from testgrove.core.runs.plan import Action
from testgrove.core.worktrees.record import WorktreeRecord
from testgrove.errors import TestgroveError
from testgrove.system import git
from testgrove.system.environment import build
from testgrove.system.environment.record import EnvironmentRecord
from testgrove.system.preflight.check import AskedAhead, InstalledRecord, RunCommand, check


def ask_ahead(workspace: Workspace, worktree: WorktreeRecord) -> AskedAhead | None:
    """Ask the interpreter of a recycled worktree's environment, before that is checked.

    None where there is none yet, and where what comes before the preflight can change the answer: databases are
    variables of the suite, and set-up installs.
    """
    python = build.python_of(workspace.tree)
    changing = workspace.making is not None or Action.RUN_SETUP in worktree.plan
    if changing or not worktree.environment or python.parent.parent.is_symlink() or not os.access(python, os.X_OK):
        return None
    tree, directory = workspace.tree, _project_of(workspace)
    try:
        return AskedAhead(tree=tree, python=python, env=workspace.suite_environ(), directory=directory)
    except TestgroveError:  # an interpreter that cannot run, for instance: the environment is built again
        return None


def run_preflight(workspace: Workspace, record: EnvironmentRecord, run: RunCommand) -> None:
    """Check that the suite will import the worktree's own code (see check()). run: asks the interpreter."""
    check(
        tree=workspace.tree,
        python=build.python_of(workspace.tree),
        env=workspace.suite_environ(),
        foreign=foreign_checkouts(workspace.project, workspace.tree),
        run=run,
        recorded_python=record.python,
        installed=InstalledRecord(record.tree_hash, workspace.target.tree),
        directory=_project_of(workspace),
    )


def _project_of(workspace: Workspace) -> str:
    return directory_of(workspace.tree, workspace.directory)


def foreign_checkouts(project: Project, tree: Path) -> list[Path]:
    """The other checkouts of this repository."""
    return [path for path in git.checkout_paths(project.repository) if path != tree]
