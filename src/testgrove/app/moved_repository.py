"""A repository that was moved: its worktrees are known under the place where it was, and its own list is empty.

A project is named after its git directory. Where that is gone, and this repository's records name worktrees that the
project has, this repository is the project's. Such worktrees can be adopted: git writes their pointers anew (``git
worktree repair``), then the store names this project for them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from testgrove.app.project import Project
from testgrove.app.worktrees import records
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
    gone = [
        row
        for row in project.store.rows("SELECT * FROM projects WHERE id != ?", project.id)
        if not Path(row["common_dir"]).exists()
    ]
    if not gone:
        return []
    paths = {str(path) for path in git.checkout_paths(project.repository)}
    found = []
    for each in gone:
        rows = project.store.rows("SELECT * FROM worktrees WHERE project = ? ORDER BY id", each["id"])
        if any(row["path"] in paths for row in rows):
            found.append(Former(each["id"], Path(each["main"]), tuple(rows)))
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
        db.execute("UPDATE OR IGNORE durations SET project = ? WHERE project = ?", (project.id, former.id))
        db.execute("DELETE FROM projects WHERE id = ?", (former.id,))
    records.publish(project, holder)


def _adopt_leases(project: Project, former: Former, row: Row) -> None:
    owner = f"worktree:{former.id}/{row['id']}"
    for lease in project.store.leases(owner).all():
        data: dict[str, Any] = dict(lease.data)
        if "common_dir" in data:
            data |= project.lease_data()
        project.store.update(
            "leases",
            {"owner": owner, "kind": lease.kind, "key": lease.key},
            owner=f"worktree:{project.id}/{row['id']}",
            data=json.dumps(data),
        )
