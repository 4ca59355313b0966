"""Replaces a damaged store with a new one that contains every readable row; the damaged one is moved aside.

1. The new store is written as `<store>.building`; when it is complete, it is renamed to `<store>.new`.
2. The old files are moved to `damaged-<time>/`, next to the store.
3. `<store>.new` is renamed to `<store>`.

A command that opens the store and finds a `.new` finishes steps 2 and 3, so that a kill at any point loses nothing. All
steps hold the store's lock file. Connections that are open to the old file do no harm: SQLite does not touch files at
the path of a database that was moved, and the store checks the identity of its file before each use.
"""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from testgrove.core.model import LeaseKind
from testgrove.system.locks import exclusive
from testgrove.system.store.schema import JSON_DEFAULTS, SOUND, TABLES, migrate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Identity = tuple[int, int]  # device and inode of the store's file
NOTE = "its record was damaged"
FOLDERS = "damaged-*"  # next to the store
_BARE = (LeaseKind.DIRECTORY, LeaseKind.TRASH, LeaseKind.PROCESSES)  # kinds whose leases have no data


def identity_of(path: Path) -> Identity | None:
    """Return which file the store is now; None where there is none."""
    try:
        found = os.stat(path)  # noqa: PTH116 - before every use of the store
    except OSError:
        return None
    return found.st_dev, found.st_ino


def finish_exchange(path: Path) -> None:
    """Finish what a command that was killed has begun."""
    if path.with_suffix(".new").exists():
        with _locked(path):
            _exchange(path)


def exchange(path: Path, damaged: Identity | None) -> Path | None:
    """Put a store in the place of a damaged one; the folder with the old files, None where another command was faster.

    Raises OSError and sqlite3.Error where the new one cannot be written.
    """
    with _locked(path):
        if identity_of(path) != damaged:
            return None
        building = path.with_suffix(".building")
        for name in files_of(building):
            name.unlink(missing_ok=True)
        _build(path, building)
        building.rename(path.with_suffix(".new"))
        return _exchange(path)


def _locked(path: Path) -> Any:
    return exclusive(path.with_suffix(".lock"), what=f"the store {path}", timeout=30.0)


def _exchange(path: Path) -> Path | None:
    new = path.with_suffix(".new")
    if not new.exists():
        return None
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f")
    folder = path.with_name(FOLDERS.replace("*", stamp))
    folder.mkdir(mode=0o700)
    for each in files_of(path):
        if os.path.lexists(each):
            each.rename(folder / each.name)
    new.rename(path)
    return folder


def files_of(path: Path) -> tuple[Path, ...]:
    """The files that a store at a path has, or may have."""
    return tuple(path.with_name(path.name + end) for end in ("", "-wal", "-shm", "-journal"))


def _build(old: Path, building: Path) -> None:
    building.touch(mode=0o600)
    with closing(sqlite3.connect(building, isolation_level=None)) as new:
        migrate(new, building)
        new.execute("BEGIN")
        for table in TABLES:
            columns = [row[1] for row in new.execute(f"PRAGMA table_info({table})")]
            for row in _readable_rows(old, table):
                _copy(new, table, {name: value for name, value in row.items() if name in columns})
        _repair(new)
        new.execute("COMMIT")


def _readable_rows(path: Path, table: str) -> Iterator[dict[str, Any]]:
    """The rows that can be read, from both ends: a broken page hides those that come after it."""
    if not path.is_file():  # a pipe would be waited for
        return
    for order in ("", "DESC"):
        with suppress(sqlite3.Error), closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as db:
            db.text_factory = bytes
            cursor = db.execute(f"SELECT * FROM {table} ORDER BY rowid {order}")  # noqa: S608 - our own names
            names = [column[0] for column in cursor.description]
            for values in cursor:
                with suppress(UnicodeDecodeError):
                    yield {n: v.decode() if isinstance(v, bytes) else v for n, v in zip(names, values, strict=True)}


def _copy(new: sqlite3.Connection, table: str, row: dict[str, Any]) -> None:
    names, marks = ", ".join(row), ", ".join("?" * len(row))
    with suppress(sqlite3.IntegrityError):  # it was read already, or lacks what every row has
        new.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", list(row.values()))  # noqa: S608 - our own names


def _repair(new: sqlite3.Connection) -> None:
    """Replace invalid values with safe ones, which delete nothing: such a worktree belongs to its user, with a note."""
    sound = SOUND["worktrees"]
    broken = " OR ".join(f"NOT ({condition})" for condition in sound.values())
    new.execute(f"UPDATE worktrees SET note = '{NOTE}' WHERE {broken}")  # noqa: S608 - our own names
    for name, default in JSON_DEFAULTS.items():
        new.execute(f"UPDATE worktrees SET {name} = ? WHERE NOT ({sound[name]})", (default,))  # noqa: S608 - as above
    new.execute(f"UPDATE worktrees SET status = 'ready', holder = NULL WHERE NOT ({sound['status']})")  # noqa: S608 - as above
    now = datetime.now(UTC).isoformat()
    new.execute(f"UPDATE worktrees SET created = ? WHERE coalesce({sound['created']}, FALSE) = FALSE", (now,))  # noqa: S608 - as above
    _repair_leases(new)


def _repair_leases(new: sqlite3.Connection) -> None:
    """Repair leases with invalid data: keep them if the other columns are sufficient, else they are rediscovered."""
    broken = f"coalesce({SOUND['leases']['data']}, FALSE) = FALSE"
    rows = new.execute(f"SELECT seq, kind, key FROM leases WHERE {broken}").fetchall()  # noqa: S608 - our own names
    for seq, kind, key in rows:
        if kind in _BARE:
            new.execute("UPDATE leases SET data = '{}' WHERE seq = ?", (seq,))
        elif kind == LeaseKind.PORTS and key.rpartition(":")[2].isdecimal():
            data = {"name": "port", "port": int(key.rpartition(":")[2])}
            new.execute("UPDATE leases SET data = ? WHERE seq = ?", (json.dumps(data), seq))
        else:
            new.execute("DELETE FROM leases WHERE seq = ?", (seq,))
