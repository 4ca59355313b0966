"""The worktrees on record: the only place that reads or writes their table."""

from __future__ import annotations

import sqlite3
from dataclasses import fields, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from testgrove.core.model import WorktreeId, WorktreeStatus
from testgrove.core.worktrees.record import WorktreeRecord

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Unpack

    from testgrove.core.worktrees.record import Changes
    from testgrove.system.store.database import Row, StateDatabase

_COLUMNS = {"commit": "commit_id"}  # where a column has another name than the record's field


class RunningWorktree(NamedTuple):
    """A run's worktree that a command holds now. main: its project's main checkout. pid: of the command."""

    id: str
    project: str
    main: Path
    pid: int


class Worktrees:
    """The table of worktrees."""

    def __init__(self, database: StateDatabase) -> None:
        self._database = database

    def of_project(self, project: str) -> list[WorktreeRecord]:
        """A project's worktrees, oldest first."""
        return self._read("WHERE project = ? ORDER BY created, id", project)

    def find(self, project: str, worktree: WorktreeId) -> WorktreeRecord | None:
        """One of a project's worktrees, by its id."""
        return self._one("WHERE project = ? AND id = ?", project, str(worktree))

    def at(self, path: Path) -> WorktreeRecord | None:
        """The worktree whose folder this is."""
        return self._one("WHERE path = ?", str(path))

    def held_by(self, mark: str) -> list[WorktreeRecord]:
        """The worktrees that a command holds."""
        return self._read("WHERE holder = ?", mark)

    def running(self) -> list[RunningWorktree]:
        """The worktrees that attempts may run in now, of all projects, in the order in which their commands began."""
        rows = self._database.rows(
            "SELECT worktrees.id, worktrees.project, projects.main, holders.pid FROM worktrees"
            " JOIN projects ON projects.id = worktrees.project JOIN holders ON holders.mark = worktrees.holder"
            " WHERE worktrees.run IS NOT NULL AND worktrees.parked IS NULL ORDER BY holders.started, worktrees.id"
        )
        return [RunningWorktree(row["id"], row["project"], Path(row["main"]), row["pid"]) for row in rows]

    def add(self, record: WorktreeRecord) -> bool:
        """Record a worktree; False, and nothing is changed, where its id or its folder is taken."""
        values = {each.name: getattr(record, each.name) for each in fields(record) if each.name != "id"}
        names = {"id": str(record.id), "purpose": record.id.purpose, "identifier": record.id.identifier}
        try:
            self._database.insert("worktrees", **names, **_columns(values))
        except sqlite3.IntegrityError:
            return False
        return True

    def update(self, record: WorktreeRecord, **changes: Unpack[Changes]) -> WorktreeRecord:
        """Change fields of a worktree's record and return the new record. Other fields keep their stored values."""
        where = {"project": record.project, "id": str(record.id)}
        self._database.update("worktrees", where, **_columns(changes))
        return replace(record, **changes)

    def delete(self, record: WorktreeRecord) -> None:
        """Delete the record of a removed worktree."""
        self._database.delete("worktrees", project=record.project, id=str(record.id))

    def _one(self, condition: str, *values: object) -> WorktreeRecord | None:
        found = self._read(condition, *values)
        return found[0] if found else None

    def _read(self, condition: str, *values: object) -> list[WorktreeRecord]:
        rows = self._database.rows(f"SELECT * FROM worktrees {condition}", *values)  # noqa: S608 - our own conditions
        return [_record(row) for row in rows]


def _columns(values: Mapping[str, object]) -> dict[str, object]:
    return {_COLUMNS.get(name, name): _plain(value) for name, value in values.items()}


def _plain(value: object) -> object:
    if isinstance(value, Path):
        return str(value)
    return value.isoformat() if isinstance(value, datetime) else value


def _record(row: Row) -> WorktreeRecord:
    return WorktreeRecord(
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
        project=row["project"],
        run=row["run"],
        ref=row["ref"],
        parked=row["parked"],
        environment=row["environment"],
        plan=tuple(row["plan"]),
        own_commits=tuple(row["own_commits"]),
        manifest=row["manifest"],
        attempt_from=row["attempt_from"],
        directory=row["directory"],
    )
