"""A worktree's environment: what it is to hold, and making it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from testgrove.app.holder import Holder
from testgrove.app.project import Project
from testgrove.app.subprojects import directory_of
from testgrove.app.tools import SupervisedTool
from testgrove.core.environments.declared import read_declared
from testgrove.core.environments.dependency_sets import find_set
from testgrove.core.environments.home import WHOLE, Home, find_home
from testgrove.core.environments.plan import EnvironmentPlan
from testgrove.core.folders import ancestors, joined
from testgrove.errors import TestgroveError
from testgrove.system import git
from testgrove.system.environment import build, interpreters
from testgrove.system.environment.record import EnvironmentRecord
from testgrove.system.environment.siblings import link_siblings
from testgrove.system.files import read_if_there
from testgrove.system.processes.process import run


def plan_environment(
    project: Project,
    tree: Path,
    *,
    python: str | None,
    deps: str | None,
    tree_hash: str,
    directory: str = "",
    script_python: Path | None = None,
) -> EnvironmentPlan:
    """Return the plan of a checkout's environment.

    python, deps: as the user asked for them, or None. directory: where commands run in it. script_python: the default
    interpreter, if it fits.
    """
    settings = project.settings
    chosen = find_set(settings, deps)
    home = _home(tree, joined(project.settings_folder, chosen.directory) if chosen.directory else directory)
    folder = tree / home.folder
    beside = tree.parent == project.root
    siblings = link_siblings(tree, project.main, settings.siblings) if beside and settings.siblings else {}
    interpreter = interpreters.find(
        python,
        requires=_requires_python(folder),
        pinned=next(filter(None, (_text(tree / each / ".python-version") for each in ancestors(home.folder))), None),
        run=run,
        default=script_python,
    )
    return build.plan(
        tree,
        interpreter=interpreter,
        extras=settings.extras,
        groups=settings.groups,
        tree_hash=tree_hash,
        setup=settings.setup,
        uv_version=build.uv_version(build.find_uv(), run),
        deps=chosen,
        home=home,
        siblings=siblings,
    )


def _home(tree: Path, directory: str) -> Home:
    """The project whose environment is for commands in a folder: the nearest one at or above it."""
    if not directory:
        return WHOLE
    return find_home(directory_of(tree, tree / directory), lambda name: read_if_there(tree / name) or b"")


def build_environment(project: Project, holder: Holder, tree: Path, plan: EnvironmentPlan) -> EnvironmentRecord:
    """Rebuild the environment, replacing an existing one."""
    return build.build(
        tree,
        plan,
        uv=build.find_uv(),
        run=SupervisedTool(project, holder),
        temporary=git.git_dir_of(tree) / "testgrove-tmp",  # goes with the worktree, whatever happens
        offline=project.offline,
    )


def with_version(
    project: Project,
    holder: Holder,
    tree: Path,
    plan: EnvironmentPlan,
    record: EnvironmentRecord,
    *,
    commit: str,
    fresh: bool,
) -> EnvironmentRecord:
    """Update a version that comes from git; a snapshot has the version of its parent commit.

    Nothing is compiled for this; if the build backend cannot compute the version alone, the environment is rebuilt.
    commit: the one that is checked out. fresh: the environment was just built.
    """
    if not plan.versioned:
        return record
    source = git.version_source(tree, commit)
    if record.version_source == source.mark:
        return record
    if not fresh or source.commit != commit:
        try:
            return _with_version_of(project, holder, tree, plan, record, source)
        except TestgroveError:
            record = record if fresh else build_environment(project, holder, tree, plan)
    if source.commit == commit:
        return replace(record, version_source=source.mark)
    note = "using the version of the snapshot: cannot get the commit's version from the build backend"
    return replace(record, version_source=source.mark, notes=(*record.notes, note))


def _with_version_of(
    project: Project,
    holder: Holder,
    tree: Path,
    plan: EnvironmentPlan,
    record: EnvironmentRecord,
    source: git.VersionSource,
) -> EnvironmentRecord:
    return build.renew_versions(
        tree,
        plan,
        record,
        source=source,
        common_dir=project.repository.common_dir,
        uv=build.find_uv(),
        run=SupervisedTool(project, holder),
        temporary=git.git_dir_of(tree) / "testgrove-tmp",
        offline=project.offline,
    )


def _requires_python(tree: Path) -> str | None:
    names = ("pyproject.toml", "setup.cfg", "setup.py")
    texts = {name: text.encode() for name in names if (text := _text(tree / name)) is not None}
    return read_declared(texts).requires_python


def _text(path: Path) -> str | None:
    found = read_if_there(path)
    return None if found is None else found.decode("utf-8", "replace")
