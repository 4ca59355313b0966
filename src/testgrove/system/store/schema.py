"""The store's tables, how an older store becomes one of this version, and what a sound one looks like.

A new status of a worktree, like a new table or column, needs a new schema version: an older testgrove would take the
row for a damaged one.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from testgrove.core.model import WorktreeStatus
from testgrove.errors import PreconditionError

if TYPE_CHECKING:
    from pathlib import Path

SCHEMA_VERSION = 4
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
    note TEXT NOT NULL DEFAULT '', ref TEXT NOT NULL DEFAULT '', directory TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (project, id));
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
_UPGRADES = {  # from this version to the next
    1: "ALTER TABLE worktrees ADD COLUMN ref TEXT NOT NULL DEFAULT ''",
    2: "UPDATE worktrees SET status = 'broken' WHERE status = 'removing' AND holder IS NULL",
    3: "ALTER TABLE worktrees ADD COLUMN directory TEXT NOT NULL DEFAULT ''",
}
JSON_DEFAULTS = {"ports": "{}", "databases": "{}", "environment": "null", "plan": "[]", "own_commits": "[]"}
_STATUSES = ", ".join(f"'{status}'" for status in WorktreeStatus)
TABLES = ("holders", "projects", "worktrees", "leases", "runs", "durations")
# Conditions that hold for every sound row, by table and column.
SOUND = {
    "worktrees": {
        **{name: f"json_valid({name})" for name in JSON_DEFAULTS},
        "status": f"status IN ({_STATUSES})",
        "created": "julianday(created) IS NOT NULL",
    },
    "leases": {"data": "json_valid(data) AND CASE WHEN json_valid(data) THEN json_type(data) = 'object' END"},
}


def migrate(db: sqlite3.Connection, path: Path) -> None:
    """Make the tables, or bring those of an older version up to date. Raises PreconditionError (``store-newer``)."""
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("BEGIN IMMEDIATE")
    try:
        found = db.execute("PRAGMA user_version").fetchone()[0]
        if found > SCHEMA_VERSION:
            raise PreconditionError(
                "store-newer",
                f"{path} was written by a newer testgrove (schema {found}; supported: {SCHEMA_VERSION})",
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


def damage_of(db: sqlite3.Connection) -> str:
    """Return the damage in the rows of a store; empty if there is none. Raises sqlite3.Error for what SQLite meets."""
    for table in TABLES:
        conditions = SOUND.get(table, {})
        wrong = f"NOT ({' AND '.join(f'({each})' for each in conditions.values()) or 'TRUE'})"
        columns = ", ".join(name for name in conditions) or "rowid"
        if db.execute(f"SELECT {columns} FROM {table} WHERE {wrong} LIMIT 1").fetchone():  # noqa: S608 - our own names
            return f"invalid row in {table}"
    return ""


def is_damage(error: sqlite3.Error) -> bool:
    """Return whether an error means invalid content of the file, rather than a full disk or a busy database."""
    code = getattr(error, "sqlite_errorcode", None)
    text = str(error)
    if code is None:  # Python's own: text that is not UTF-8, a row that is not JSON
        return "decode" in text or "JSON" in text
    if code & 0xFF == sqlite3.SQLITE_ERROR:
        return any(words in text for words in ("no such table", "no such column", "already exists", "malformed"))
    return code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT)
