"""The runs that go on, or went on when their command died; and how long cells took in those that ended."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from testgrove.core.frozen import frozen

if TYPE_CHECKING:
    from collections.abc import Iterable

    from testgrove.system.store.database import StateDatabase


@frozen
class RunRecord:
    """A run on record. folder: where its log and reports are. holder: the mark of its command."""

    id: str
    project: str
    folder: Path
    holder: str


class Runs:
    """The tables of runs and of the durations of cells."""

    def __init__(self, database: StateDatabase) -> None:
        self._database = database

    def find(self, run: str) -> RunRecord | None:
        """A run that has not ended, by its id."""
        return self._one("WHERE id = ?", run)

    def at(self, folder: Path) -> RunRecord | None:
        """The run that goes on in a folder. One that was killed goes on until recovery has closed it."""
        return self._one("WHERE folder = ?", str(folder))

    def held_by(self, mark: str) -> list[RunRecord]:
        """The runs of a command."""
        return self._read("WHERE holder = ?", mark)

    def add(self, record: RunRecord) -> None:
        """Record a run that begins now."""
        self._database.insert(
            "runs",
            id=record.id,
            project=record.project,
            folder=str(record.folder),
            started=time.time(),
            holder=record.holder,
        )

    def delete(self, run: str) -> None:
        """Forget a run that has ended."""
        self._database.delete("runs", id=run)

    def durations(self, project: str) -> dict[str, float]:
        """Seconds that each cell of a project took when it last ran to its end."""
        rows = self._database.rows("SELECT cell, seconds FROM durations WHERE project = ?", project)
        return {row["cell"]: row["seconds"] for row in rows}

    def remember_durations(self, project: str, ended: Iterable[tuple[str, float, float]]) -> None:
        """Keep how long cells took: the cell, its seconds, the time of its end."""
        with self._database.transaction() as db:
            db.executemany("INSERT OR REPLACE INTO durations VALUES (?, ?, ?, ?)", [(project, *each) for each in ended])

    def _one(self, condition: str, *values: object) -> RunRecord | None:
        found = self._read(condition, *values)
        return found[0] if found else None

    def _read(self, condition: str, *values: object) -> list[RunRecord]:
        rows = self._database.rows(f"SELECT * FROM runs {condition}", *values)  # noqa: S608 - our own conditions
        return [RunRecord(row["id"], row["project"], Path(row["folder"]), row["holder"]) for row in rows]
