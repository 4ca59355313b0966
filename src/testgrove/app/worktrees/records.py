"""Worktrees as the store's rows have them: reading, claiming, and the registry view for people and scripts."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from testgrove.app.project import Project, missing_worktree
from testgrove.core.model import Worktree, WorktreeId, WorktreeSpec, WorktreeStatus
from testgrove.errors import PreconditionError
from testgrove.system.files import atomic_write
from testgrove.system.locks import LockFile
from testgrove.system.store import Row, Store, StoredLeases
from testgrove.system.store.commands import CommandRecord

if TYPE_CHECKING:
    from testgrove.app.holder import Holder  # and its threads, which `list` does without
    from testgrove.core.documents.commands import Registry, RegistryEntry

REGISTRY = "worktrees_registry.json"


def to_worktree(row: Row) -> Worktree:
    """A row as a value."""
    return Worktree(
        id=WorktreeId(row["purpose"], row["identifier"]),
        path=Path(row["path"]),
        status=WorktreeStatus(row["status"]),
        branch=row["branch"],
        commit=row["commit_id"],
        created=datetime.fromisoformat(row["created"]),
        ports=row["ports"],
        databases=row["databases"],
        python=row["python"],
        env_file=row["env_file"],
        holder=row["holder"],
        note=row["note"],
    )


def rows_of(project: Project) -> list[Row]:
    """The project's rows, oldest first."""
    return project.store.rows("SELECT * FROM worktrees WHERE project = ? ORDER BY created, id", project.id)


def all_worktrees(project: Project) -> list[Worktree]:
    """The project's worktrees, oldest first."""
    return [to_worktree(row) for row in rows_of(project)]


def row_of(project: Project, text: str) -> Row:
    """The row of a full id, or of an identifier that only one purpose has. Raises PreconditionError."""
    rows = rows_of(project)
    found = [row for row in rows if row["id"] == text] or [row for row in rows if row["identifier"] == text]
    if len(found) > 1:
        ids = " and ".join(row["id"] for row in found)
        raise PreconditionError("ambiguous-worktree", f"'{text}' could be {ids}", hint="give the whole id")
    if not found:
        raise missing_worktree(text, [row["id"] for row in rows])
    return found[0]


def dead_commands(store: Store, is_held: Callable[[str], bool]) -> list[CommandRecord]:
    """The commands that ended without letting go."""
    return [command for command in store.commands.all() if not is_held(command.mark)]


def leases_of(store: Store, row: Row) -> StoredLeases:
    """The leases of a worktree."""
    return store.leases(_owner(row["project"], row["id"]))


def worktree_leases(project: Project, worktree: WorktreeId) -> StoredLeases:
    """The leases of one of the project's worktrees."""
    return project.store.leases(_owner(project.id, str(worktree)))


def _owner(project_id: str, worktree: str) -> str:
    return f"worktree:{project_id}/{worktree}"


def place_of(project: Project, spec: WorktreeSpec) -> Path:
    """The folder that a worktree is made in."""
    return spec.place or project.root / str(spec.id)


def insert(project: Project, holder: Holder, spec: WorktreeSpec, *, run: str | None, plan: Sequence[str]) -> Row:
    """Record a worktree that is about to be made. Raises PreconditionError when its id or place is taken."""
    path = place_of(project, spec)
    if path.is_symlink() or (path.exists() and any(path.iterdir() if path.is_dir() else [path])):
        raise _path_exists(project, path)
    try:
        project.store.insert(
            "worktrees",
            project=project.id,
            id=str(spec.id),
            purpose=spec.id.purpose,
            identifier=spec.id.identifier,
            path=str(path),
            status=WorktreeStatus.CREATING,
            created=now(),
            holder=holder.key,
            run=run,
            env_file=project.settings.env_file,
            plan=list(plan),
        )
    except sqlite3.IntegrityError as error:
        raise PreconditionError(
            "held",
            _others(project, path) or f"worktree {spec.id} is being made by another command",
            hint="`testgrove list` shows the worktrees there are",
        ) from error
    return row_of(project, str(spec.id))


def _path_exists(project: Project, path: Path) -> PreconditionError:
    hint = f"move it away, or choose another identifier: ls -la {path}"
    if others := _others(project, path):
        hint = f"choose another identifier, or another `root` in [tool.testgrove]: ls -la {path}"
    return PreconditionError("path-exists", others or f"{path} exists and is not a worktree of testgrove's", hint=hint)


def _others(project: Project, path: Path) -> str:
    """Which other project's worktree is in a place, as a sentence; empty where none is. Two may have the same root."""
    known = "SELECT main, w.id FROM worktrees AS w JOIN projects ON projects.id = project"
    found = project.store.one(f"{known} WHERE path = ? AND project != ?", str(path), project.id)
    return f"{path} is worktree {found['id']} of another project, {found['main']}" if found else ""


def take(project: Project, holder: Holder, row: Row, *statuses: WorktreeStatus) -> Row:
    """Become the holder of a worktree in one of these statuses. Raises PreconditionError (``held``)."""
    with project.store.transaction():
        fresh = project.store.one("SELECT * FROM worktrees WHERE project = ? AND id = ?", project.id, row["id"])
        if fresh is None:
            raise missing_worktree(row["id"], [])
        if fresh["holder"] is not None or fresh["status"] not in statuses:
            raise held(project.store, fresh)
        update(project.store, fresh, holder=holder.key)
    return fresh | {"holder": holder.key}


def take_to_remove(project: Project, holder: Holder, row: Row) -> Row:
    """take() for a worktree that may go. It is not `removing` before that is decided: a recovery would finish it."""
    resting = (WorktreeStatus.READY, WorktreeStatus.PARKED, WorktreeStatus.BROKEN)
    with project.store.transaction():
        taken = take(project, holder, row, *resting, WorktreeStatus.REMOVING)
        if taken["status"] == WorktreeStatus.REMOVING:  # a command of an older version has given it up
            update(project.store, taken, status=WorktreeStatus.BROKEN)
    return taken


def held(store: Store, row: Row) -> PreconditionError:
    """The error for a worktree that another command holds, or that is broken."""
    if row["status"] == WorktreeStatus.BROKEN and row["holder"] is None:
        message = f"worktree {row['id']} is broken: {row['note']}"
        return PreconditionError("worktree-held", message, hint=f"testgrove remove {row['id']}", worktree=row["id"])
    who = store.commands.find(row["holder"]) if row["holder"] else None
    by = f" by `{who.command}` (pid {who.pid})" if who else ""
    return PreconditionError(
        "worktree-held",
        f"worktree {row['id']} is {row['status']}, held{by}",
        hint="wait until that command ends, or end it",
        worktree=row["id"],
    )


def update(store: Store, row: Row, **values: object) -> None:
    """Change a worktree's row, and the copy in hand."""
    store.update("worktrees", {"project": row["project"], "id": row["id"]}, **values)
    row.update(values)


def set_parked(store: Store, row: Row) -> None:
    """Record that a worktree waits to be recycled."""
    update(
        store,
        row,
        status=WorktreeStatus.PARKED,
        parked=time.time(),
        holder=None,
        run=None,
        ports={},
        databases={},
        branch="",
        attempt_from=None,
        note="",
    )


def set_kept(store: Store, row: Row, note: str) -> None:
    """Record that a run has left a worktree to people; the run's id stays with it."""
    status = WorktreeStatus.READY
    update(store, row, status=status, parked=time.time(), holder=None, attempt_from=None, note=note)


def is_kept(row: Row) -> bool:
    """Whether a run has left this worktree to people."""
    return row["status"] == WorktreeStatus.READY and row["run"] is not None


def delete(store: Store, row: Row) -> None:
    """Forget a worktree that is gone."""
    store.delete("worktrees", project=row["project"], id=row["id"])


def now() -> str:
    """The time as the store keeps it: UTC, to the microsecond."""
    return datetime.now(UTC).isoformat()


def is_our_registry(path: Path) -> bool:
    """Whether a file is the registry view, or would be: what testgrove has not written is its user's, and stays."""
    try:
        view = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return True
    except (OSError, ValueError):
        return False
    return isinstance(view, dict) and {"schema", "worktrees", "allocated_ports"} <= view.keys()


def publish(project: Project, holder: Holder) -> None:
    """Bring the registry view up to date."""
    write_registry(project.store, holder.locks, project.id, project.main)


def write_registry(store: Store, locks: LockFile, project_id: str, main: Path) -> None:
    """Replace the view of the store in the main checkout. Written under a lock, so that no older view comes last.

    A file of that name that is the user's is left alone; `doctor` says so, and --fix moves it aside.
    """
    if not os.access(main, os.X_OK):  # gone, or closed to us
        return
    with locks.hold(f"registry:{project_id}", what=f"the registry of {main}", timeout=60.0):
        rows = store.rows("SELECT * FROM worktrees WHERE project = ? ORDER BY id", project_id)
        allocated = sorted(port for row in rows for port in row["ports"].values())
        view: Registry = {
            "schema": 1,
            "schema_version": 1,
            "worktrees": {row["id"]: _entry(row) for row in rows},
            "allocated_ports": allocated,
        }
        target = main / REGISTRY
        if (rows or target.exists()) and is_our_registry(target):
            atomic_write(target, (json.dumps(view, indent=2) + "\n").encode())


def _entry(row: Row) -> RegistryEntry:
    created = datetime.fromisoformat(row["created"])
    entry: RegistryEntry = {
        "purpose": row["purpose"],
        "identifier": row["identifier"],
        "branch": row["branch"],
        "path": row["path"],
        # Local and without a zone: the documented scripts compare it with datetime.now().
        "created": created.astimezone().replace(tzinfo=None).isoformat(timespec="seconds"),
        "created_utc": created.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "status": row["status"],
    }
    if row["ports"]:
        entry["ports"] = row["ports"]
    if postgres := row["databases"].get("postgres"):
        entry["database"] = postgres["name"]
    return entry
