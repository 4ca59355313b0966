"""The commands that hold something, or held it when they died."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from testgrove.system.store.database import StateDatabase


class CommandRecord(NamedTuple):
    """A command on record. mark: its own, under which everything refers to it. command: as its user typed it."""

    mark: str
    command: str
    pid: int


class Commands:
    """The table of commands."""

    def __init__(self, database: StateDatabase) -> None:
        self._database = database

    def all(self) -> list[CommandRecord]:
        """Every command on record, whether or not it still runs."""
        return self._read("")

    def find(self, mark: str) -> CommandRecord | None:
        """The command of a mark."""
        found = self._read("WHERE mark = ?", mark)
        return found[0] if found else None

    def add(self, record: CommandRecord) -> None:
        """Record a command that begins now."""
        self._database.insert("holders", mark=record.mark, command=record.command, pid=record.pid, started=time.time())

    def delete(self, mark: str) -> None:
        """Delete the record of a command that holds nothing."""
        self._database.delete("holders", mark=mark)

    def holds_any(self, mark: str) -> bool:
        """Return whether a worktree or a run refers to a command. Its leases are another matter."""
        sql = "SELECT 1 FROM worktrees WHERE holder = ?1 UNION ALL SELECT 1 FROM runs WHERE holder = ?1"
        return self._database.one(sql, mark) is not None

    def _read(self, condition: str, *values: object) -> list[CommandRecord]:
        rows = self._database.rows(f"SELECT mark, command, pid FROM holders {condition}", *values)  # noqa: S608 - constant text
        return [CommandRecord(row["mark"], row["command"], row["pid"]) for row in rows]
