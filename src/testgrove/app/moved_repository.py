"""A repository that was moved: its worktrees are known under the place where it was, and its own list is empty.

A project is named after its git directory. Where that is gone, and this repository's records name worktrees that the
project has, this repository is the project's. Such worktrees can be adopted: git writes their pointers anew (``git
worktree repair``), then the store names this project for them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from testgrove.app.project import Project
from testgrove.app.worktrees import records
from testgrove.core.model import Lease
from testgrove.errors import PreconditionError
from testgrove.system import git
from testgrove.system.store import Row

if TYPE_CHECKING:
    from testgrove.app.holder import Holder


@dataclass(frozen=True)
class Former:
    """A place where this repository was. rows: the worktrees that are recorded for it."""

    id: str
    main: Path
    rows: tuple[Row, ...]


def former_places(project: Project) -> list[Former]:
    """Where this repository was when worktrees of it were made; empty where it was not moved."""
    gone = [each for each in project.store.projects.all() if each.id != project.id and not each.common_dir.exists()]
    if not gone:
        return []
    paths = {str(path) for path in git.checkout_paths(project.repository)}
    found = []
    for each in gone:
        rows = project.store.rows("SELECT * FROM worktrees WHERE project = ? ORDER BY id", each.id)
        if any(row["path"] in paths for row in rows):
            found.append(Former(each.id, each.main, tuple(rows)))
    return found


def why_not_adopted(project: Project, former: Former) -> str:
    """Why the worktrees cannot be adopted; empty where they can."""
    known = {row["id"] for row in records.rows_of(project)}
    for row in former.rows:
        if row["holder"] is not None:
            return f"{row['id']} is {row['status']}"
        if not Path(row["path"], ".git").is_file():
            return f"{row['path']} is gone or was moved, too"
        if row["id"] in known:
            return f"there is another {row['id']} by now"
    if project.store.leases(f"project:{former.id}").all():
        return "they have databases on servers of their own, which are bound to the former place"
    return ""


def adopt(project: Project, holder: Holder, former: Former) -> None:
    """Make the worktrees of a former place this project's. Raises PreconditionError (``not-adopted``)."""
    if why := why_not_adopted(project, former):
        raise PreconditionError("not-adopted", f"the worktrees of {former.main} stay as they are: {why}")
    git.repair_checkouts(project.repository, [Path(row["path"]) for row in former.rows])
    with project.store.transaction() as db:
        for row in former.rows:
            db.execute(
                "UPDATE worktrees SET project = ? WHERE project = ? AND id = ?", (project.id, former.id, row["id"])
            )
            _adopt_leases(project, former, row)
        project.store.projects.replace(former.id, project.id)
    records.publish(project, holder)


def _adopt_leases(project: Project, former: Former, row: Row) -> None:
    leases = project.store.leases(f"worktree:{former.id}/{row['id']}")
    for lease in leases.all():
        data: dict[str, Any] = dict(lease.data)
        if "common_dir" in data:
            data |= project.lease_data()
        leases.hand_over(Lease(lease.kind, lease.key, data), f"worktree:{project.id}/{row['id']}")
