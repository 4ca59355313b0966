"""A repository that was moved: the store knows its worktrees under the former place, and its own list is empty.

A project is named after its git directory. If that directory is missing, and this repository's records name worktrees
of the project, this repository is the project's. Such worktrees can be adopted: git rewrites their pointers (``git
worktree repair``), then the store assigns them to this project.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from testgrove.app.project import Project
from testgrove.app.worktrees import records
from testgrove.core.frozen import frozen
from testgrove.core.model import Lease
from testgrove.core.worktrees.record import WorktreeRecord
from testgrove.errors import PreconditionError
from testgrove.system import git

if TYPE_CHECKING:
    from testgrove.app.holder import Holder


@frozen
class FormerLocation:
    """A place where this repository was. worktrees: the worktrees that are recorded for it."""

    id: str
    main: Path
    worktrees: tuple[WorktreeRecord, ...]


def former_locations(project: Project) -> list[FormerLocation]:
    """Return the former locations for which worktrees are recorded; empty if the repository was not moved."""
    gone = [each for each in project.store.projects.all() if each.id != project.id and not each.common_dir.exists()]
    if not gone:
        return []
    paths = set(git.checkout_paths(project.repository))
    found = []
    for each in gone:
        worktrees = project.store.worktrees.of_project(each.id)
        if any(worktree.path in paths for worktree in worktrees):
            found.append(FormerLocation(each.id, each.main, tuple(worktrees)))
    return found


def why_not_adopted(project: Project, former: FormerLocation) -> str:
    """Why the worktrees cannot be adopted; empty where they can."""
    known = {worktree.id for worktree in records.all_of(project)}
    for worktree in former.worktrees:
        if worktree.holder is not None:
            return f"{worktree.id} is {worktree.status}"
        if not (worktree.path / ".git").is_file():
            return f"{worktree.path} is missing or was also moved"
        if worktree.id in known:
            return f"another worktree {worktree.id} exists now"
    if project.store.leases(f"project:{former.id}").all():
        return "their databases are on servers bound to the former place"
    return ""


def adopt(project: Project, holder: Holder, former: FormerLocation) -> None:
    """Make the worktrees of a former place this project's. Raises PreconditionError (``not-adopted``)."""
    if why := why_not_adopted(project, former):
        raise PreconditionError("not-adopted", f"the worktrees of {former.main} stay as they are: {why}")
    git.repair_checkouts(project.repository, [worktree.path for worktree in former.worktrees])
    with project.store.transaction():
        for worktree in former.worktrees:
            records.update(project.store, worktree, project=project.id)
            _adopt_leases(project, former, worktree)
        project.store.projects.replace(former.id, project.id)
    records.publish(project, holder)


def _adopt_leases(project: Project, former: FormerLocation, worktree: WorktreeRecord) -> None:
    leases = project.store.leases(f"worktree:{former.id}/{worktree.id}")
    for lease in leases.all():
        data: dict[str, Any] = dict(lease.data)
        if "common_dir" in data:
            data |= project.lease_data()
        leases.hand_over(Lease(lease.kind, lease.key, data), f"worktree:{project.id}/{worktree.id}")
