"""Traces of testgrove in a project without worktrees: servers, files and lines in its git directory."""

from __future__ import annotations

import os
import shlex

from testgrove.app.databases.external_templates import services_with_templates
from testgrove.app.holder import Holder
from testgrove.app.keeper import location_of
from testgrove.app.keeper_undo import undo_keeper
from testgrove.app.project import Project
from testgrove.app.uninstall.own_folders import KeptFolder
from testgrove.app.worktrees import records
from testgrove.app.worktrees.creation import git_excluded
from testgrove.app.worktrees.shared_git import shared_changes
from testgrove.core.server_url import parse_server_url
from testgrove.core.worktrees.ownership import METADATA
from testgrove.errors import TestgroveError
from testgrove.system import git
from testgrove.system.deletion import TRASH, remove_empty


def undo_servers(project: Project, holder: Holder) -> list[str]:
    """Remove the project's own servers, when no worktree has databases on them; return what was removed."""
    location = location_of(project.store, project.id)
    if location is None:
        return []
    undo_keeper(holder, location)
    return [f"the servers of {project.main}"]


def take_away_traces(project: Project) -> list[str]:
    """Remove registry, hooks and settings that point to removed worktrees, and testgrove's lines in ``info/exclude``
    and lock file; return what was removed. A line that hides an existing file stays."""
    gone = []
    registry = project.main / records.REGISTRY
    if registry.is_file() and records.is_our_registry(registry):
        registry.unlink()
        gone.append(str(registry))
    if git.unexclude(project.repository, [name for name in _excluded(project) if not _is_there(project, name)]):
        gone.append(f"lines in {project.repository.common_dir / 'info' / 'exclude'}")
    project.repository.lock.unlink(missing_ok=True)
    remove_empty(project.root / TRASH, project.root)
    for change in shared_changes(project):
        if change.mend is not None:
            change.mend()
            gone.append(change.subject)
    return gone


def _excluded(project: Project) -> tuple[str, ...]:
    try:
        return git_excluded(project)
    except TestgroveError:  # the settings cannot be read: what they call the env file is not known
        return (METADATA, records.REGISTRY, "/test-artifacts/")


def _is_there(project: Project, name: str) -> bool:
    return any(os.path.lexists(path / name.strip("/")) for path in git.checkout_paths(project.repository))


def left_in(project: Project) -> list[KeptFolder]:
    """Return what stays in a project because it is its user's, or on a server of the user's."""
    main, there, found = project.main, shlex.quote(str(project.main)), []
    if project.artifacts.exists():
        found.append(
            KeptFolder(
                str(project.artifacts),
                "reports and outputs of your tests",
                f"rm -r {shlex.quote(str(project.artifacts))}",
            )
        )
    for each in git.rescued(project.repository):
        ref = f"refs/testgrove/rescued/{each.id}"
        how = f"git -C {there} update-ref -d {ref}   or keep it: git -C {there} branch NAME {ref}"
        found.append(KeptFolder(f"commit {each.commit[:10]} {each.subject} in {main}", "no branch has it", how))
    found += [
        KeptFolder(f"{change.subject} of {main}", change.problem, change.fix) for change in shared_changes(project)
    ]
    return found + _on_servers(project)


def _on_servers(project: Project) -> list[KeptFolder]:
    """Templates on a server that the settings name: whether there are any, only the server knows."""
    how = f"testgrove cleanup --max-age 0 --yes --project {project.main}"
    locations = (
        parse_server_url(each.engine, each.host).location for each in services_with_templates(project).values()
    )
    return [
        KeptFolder(f"templates on {location}, where there are any", "the server is yours", how)
        for location in dict.fromkeys(locations)
    ]
