"""The projects on record."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from testgrove.core.frozen import frozen

if TYPE_CHECKING:
    from testgrove.system.store.database import StateDatabase


@frozen
class ProjectRecord:
    """A project on record. common_dir: its git directory, which its id is made from. main: its main checkout."""

    id: str
    common_dir: Path
    main: Path


class Projects:
    """The table of projects."""

    def __init__(self, database: StateDatabase) -> None:
        self._database = database

    def all(self) -> list[ProjectRecord]:
        """Every project of the user's, by its main checkout."""
        rows = self._database.rows("SELECT * FROM projects ORDER BY main")
        return [ProjectRecord(row["id"], Path(row["common_dir"]), Path(row["main"])) for row in rows]

    def id_of(self, common_dir: Path) -> str | None:
        """The id of the project with this git directory, if it is on record."""
        row = self._database.one("SELECT id FROM projects WHERE common_dir = ?", str(common_dir))
        return row["id"] if row else None

    def add(self, record: ProjectRecord) -> None:
        """Record a project; nothing where it is known."""
        with self._database.transaction() as db:
            db.execute(
                "INSERT OR IGNORE INTO projects (id, common_dir, main) VALUES (?, ?, ?)",
                (record.id, str(record.common_dir), str(record.main)),
            )

    def replace(self, former: str, project: str) -> None:
        """Give what cells of a former project took to another, and forget the former. Nothing may refer to it."""
        with self._database.transaction() as db:
            db.execute("UPDATE OR IGNORE durations SET project = ? WHERE project = ?", (project, former))
            db.execute("DELETE FROM projects WHERE id = ?", (former,))
