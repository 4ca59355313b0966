"""A root inside the repository: what keeps tools that are started above it out of its worktrees, and what cannot."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path

from testgrove.app.project import Project
from testgrove.core.folders import ancestors
from testgrove.core.worktrees.nested_root import RootProblem, find_problems
from testgrove.core.worktrees.root_guard import CONFIGURATION_FILES, configures_pytest
from testgrove.system import git
from testgrove.system.deletion import write_guard
from testgrove.system.files import read_if_there

_READ = ("pyproject.toml", "setup.py", "setup.cfg", "tox.ini", "mypy.ini", ".mypy.ini", ".gitignore",
         ".pre-commit-config.yaml", "requirements.txt", "requirements-dev.txt", "requirements-test.txt")  # fmt: skip


def guard(project: Project) -> None:
    """Write the root's guard files if it is inside the repository: see core.worktrees.root_guard."""
    if not is_nested(project) or is_tracked(project):
        return  # where the project has files of its own in that folder, new ones must stay visible
    # Without a configuration above, a worktree that has none is its own root for pytest, which is best.
    above = configures_pytest(texts(project.main, CONFIGURATION_FILES))
    write_guard(project.root, (".gitignore", "conftest.py", *(["pytest.ini"] if above else [])))


def is_nested(project: Project) -> bool:
    """Return whether the worktrees are inside the main checkout."""
    return project.root.is_relative_to(project.main)


def is_tracked(project: Project) -> bool:
    """Return whether the project has files of its own in the root."""
    return bool(git.tracked_at(project.repository, "HEAD", [str(project.root.relative_to(project.main))]))


def pytest_options(project: Project, tree: Path, directory: str = "") -> str:
    """The options for pytest in a worktree whose files do not make it pytest's root; empty where none is needed.

    directory: where pytest starts in it.
    """
    if not is_nested(project):
        return ""
    if any(configures_pytest(texts(tree / folder, CONFIGURATION_FILES)) for folder in ancestors(directory)):
        return ""
    return shlex.join([f"--rootdir={tree / directory}", f"--confcutdir={tree}"])


def problems(project: Project) -> list[RootProblem]:
    """Return the known problems of worktrees inside the repository; empty for a root elsewhere."""
    if not is_nested(project):
        return []
    names = {entry.name for entry in project.main.iterdir()}
    root = project.root.relative_to(project.main).as_posix()
    return find_problems(root, texts(project.main, _READ), names, tracked=is_tracked(project))


def texts(folder: Path, names: tuple[str, ...]) -> Mapping[str, str]:
    """The files of these names that are there."""
    found = {name: read_if_there(folder / name) for name in names}
    return {name: content.decode("utf-8", "replace") for name, content in found.items() if content is not None}
