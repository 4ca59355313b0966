"""The store: one SQLite database for the user, all projects in it.

Rows in, rows out; what they mean is decided above. Every change is one BEGIN IMMEDIATE transaction, so that two
commands never act on the same observation.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from testgrove.core.leases import Choose
from testgrove.core.model import Lease, LeaseKind
from testgrove.errors import PreconditionError, UnavailableError
from testgrove.system.locks import exclusive
from testgrove.system.trusted_paths import require_own_file

SCHEMA_VERSION = 2
_SCHEMA = """
CREATE TABLE holders (mark TEXT PRIMARY KEY, command TEXT NOT NULL, pid INTEGER NOT NULL, started REAL NOT NULL);
CREATE TABLE projects (id TEXT PRIMARY KEY, common_dir TEXT NOT NULL UNIQUE, main TEXT NOT NULL);
CREATE TABLE worktrees (
    project TEXT NOT NULL REFERENCES projects (id), id TEXT NOT NULL, purpose TEXT NOT NULL,
    identifier TEXT NOT NULL, path TEXT NOT NULL UNIQUE, status TEXT NOT NULL, branch TEXT NOT NULL DEFAULT '',
    commit_id TEXT NOT NULL DEFAULT '', created TEXT NOT NULL, parked REAL, holder TEXT, run TEXT,
    python TEXT NOT NULL DEFAULT '', env_file TEXT NOT NULL DEFAULT '.env.test', ports TEXT NOT NULL DEFAULT '{}',
    databases TEXT NOT NULL DEFAULT '{}', environment TEXT NOT NULL DEFAULT 'null', plan TEXT NOT NULL DEFAULT '[]',
    own_commits TEXT NOT NULL DEFAULT '[]', manifest TEXT NOT NULL DEFAULT '', attempt_from REAL,
    note TEXT NOT NULL DEFAULT '', ref TEXT NOT NULL DEFAULT '', PRIMARY KEY (project, id));
CREATE TABLE leases (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, owner TEXT NOT NULL, kind TEXT NOT NULL, key TEXT NOT NULL,
    data TEXT NOT NULL, UNIQUE (kind, key));
CREATE INDEX leases_owner ON leases (owner);
CREATE TABLE runs (
    id TEXT PRIMARY KEY, project TEXT NOT NULL REFERENCES projects (id), folder TEXT NOT NULL,
    started REAL NOT NULL, holder TEXT NOT NULL);
CREATE TABLE durations (
    project TEXT NOT NULL, cell TEXT NOT NULL, seconds REAL NOT NULL, ended REAL NOT NULL,
    PRIMARY KEY (project, cell));
"""
_UPGRADES = {1: "ALTER TABLE worktrees ADD COLUMN ref TEXT NOT NULL DEFAULT ''"}  # from this version to the next
_JSON_COLUMNS = ("ports", "databases", "environment", "plan", "own_commits")
Row = dict[str, Any]


class Store:
    """A connection that threads share; a transaction holds it for itself."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._mutex = threading.RLock()
        self._db = _open(path)

    def close(self) -> None:
        """Close the database; the store cannot be used afterwards."""
        self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """BEGIN IMMEDIATE … COMMIT, or ROLLBACK when the block raises. An inner one joins the outer."""
        with self._mutex:
            if self._db.in_transaction:
                yield self._db
                return
            try:
                self._db.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                raise _unusable(self.path, error) from error
            try:
                yield self._db
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def rows(self, sql: str, *values: object) -> list[Row]:
        """The rows of a query, JSON columns decoded."""
        with self._mutex:
            return [_decode(row) for row in self._db.execute(sql, values).fetchall()]

    def one(self, sql: str, *values: object) -> Row | None:
        """The first row of a query, or None."""
        found = self.rows(sql, *values)
        return found[0] if found else None

    def insert(self, table: str, **values: object) -> None:
        """Insert one row. Raises sqlite3.IntegrityError when its key exists."""
        names = ", ".join(values)
        marks = ", ".join("?" * len(values))
        with self.transaction() as db:
            db.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", _encode(values))  # noqa: S608 - our own names

    def update(self, table: str, where: Row, **values: object) -> int:
        """Change the rows that where names; the number of them."""
        setting = ", ".join(f"{name} = ?" for name in values)
        condition = " AND ".join(f"{name} IS ?" for name in where)
        with self.transaction() as db:
            cursor = db.execute(
                f"UPDATE {table} SET {setting} WHERE {condition}",  # noqa: S608 - our own names
                [*_encode(values), *where.values()],
            )
        return cursor.rowcount

    def delete(self, table: str, **where: object) -> None:
        """Delete the rows that where names."""
        condition = " AND ".join(f"{name} IS ?" for name in where)
        with self.transaction() as db:
            db.execute(f"DELETE FROM {table} WHERE {condition}", list(where.values()))  # noqa: S608 - our own names

    def leases(self, owner: str) -> StoredLeases:
        """The leases of one owner: ``worktree:<project>/<id>``, ``run:<id>`` or ``command:<mark>``."""
        return StoredLeases(self, owner)


@dataclass(frozen=True)
class StoredLeases:
    """core.leases.Leases over the store."""

    store: Store
    owner: str

    def record(self, *leases: Lease) -> None:
        """See core.leases.Leases."""
        with self.store.transaction() as db:
            for lease in leases:
                self._insert(db, lease)

    def choose(self, kind: LeaseKind, choose: Choose) -> tuple[Lease, ...]:
        """See core.leases.Leases."""
        with self.store.transaction() as db:
            taken = frozenset(row[0] for row in db.execute("SELECT key FROM leases WHERE kind = ?", (kind,)))
            chosen = tuple(choose(taken))
            for lease in chosen:
                self._insert(db, lease)
        return chosen

    def forget(self, *leases: Lease) -> None:
        """See core.leases.Leases."""
        with self.store.transaction() as db:
            for lease in leases:
                db.execute(
                    "DELETE FROM leases WHERE owner = ? AND kind = ? AND key = ?",
                    (self.owner, lease.kind, lease.key),
                )

    def all(self) -> tuple[Lease, ...]:
        """See core.leases.Leases."""
        rows = self.store.rows("SELECT kind, key, data FROM leases WHERE owner = ? ORDER BY seq", self.owner)
        return tuple(Lease(LeaseKind(row["kind"]), row["key"], json.loads(row["data"])) for row in rows)

    def _insert(self, db: sqlite3.Connection, lease: Lease) -> None:
        try:
            db.execute(
                "INSERT INTO leases (owner, kind, key, data) VALUES (?, ?, ?, ?)",
                (self.owner, lease.kind, lease.key, json.dumps(lease.data)),
            )
        except sqlite3.IntegrityError as error:
            row = db.execute("SELECT owner FROM leases WHERE kind = ? AND key = ?", (lease.kind, lease.key)).fetchone()
            raise PreconditionError(
                "held",
                f"{lease.kind} {lease.key} is held by {row['owner'] if row else 'somebody else'}",
                hint="`testgrove list` shows the worktrees there are",
                key=lease.key,
            ) from error


def _open(path: Path) -> sqlite3.Connection:
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        for suffix in ("", "-wal", "-shm", "-journal"):
            require_own_file(path.with_name(path.name + suffix))
        path.touch(mode=0o600)  # what a lease needs to undo a database elsewhere can be a URL with a password
        db = sqlite3.connect(path, timeout=30.0, isolation_level=None, check_same_thread=False)
        db.row_factory = sqlite3.Row
        if db.execute("PRAGMA user_version").fetchone()[0] != SCHEMA_VERSION:
            # Switching to WAL does not wait for a busy database, so only one process may try.
            with exclusive(path.with_suffix(".lock"), what=f"the store {path}", timeout=30.0):
                _migrate(db, path)
        db.execute("PRAGMA synchronous = NORMAL")
    except (sqlite3.Error, OSError) as error:
        raise _unusable(path, error) from error
    return db


def _migrate(db: sqlite3.Connection, path: Path) -> None:
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("BEGIN IMMEDIATE")
    try:
        found = db.execute("PRAGMA user_version").fetchone()[0]
        if found > SCHEMA_VERSION:
            raise PreconditionError(
                "store-newer",
                f"{path} was written by a newer testgrove (schema {found}, this one knows {SCHEMA_VERSION})",
                hint="upgrade testgrove, or set TESTGROVE_STATE_DIR to another folder",
            )
        if found == 0:
            for statement in _SCHEMA.split(";\n"):
                db.execute(statement)
        for version in range(found or SCHEMA_VERSION, SCHEMA_VERSION):
            db.execute(_UPGRADES[version])
        db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    except BaseException:
        db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")


def _unusable(path: Path, error: Exception) -> UnavailableError:
    return UnavailableError(
        "store-unusable",
        f"the store {path} cannot be used: {error}",
        hint="check the folder's permissions and free space, or set TESTGROVE_STATE_DIR to another folder",
    )


def _encode(values: Row) -> Sequence[object]:
    return [json.dumps(value) if name in _JSON_COLUMNS else value for name, value in values.items()]


def _decode(row: sqlite3.Row) -> Row:
    return {
        name: json.loads(row[name]) if name in _JSON_COLUMNS else row[name]
        for name in row.keys()  # noqa: SIM118 - a Row iterates over values
    }
