"""The store: one SQLite database for the user, all projects in it.

Rows in, rows out; what they mean is decided above. Every change is one BEGIN IMMEDIATE transaction, so that two
commands never act on the same observation.
"""

from __future__ import annotations

import json
import os
import shlex
import sqlite3
import stat
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from testgrove.errors import ExhaustedError, StoreError, TestgroveError
from testgrove.system.locks import exclusive
from testgrove.system.store.salvage import Identity, exchange, files_of, finish_exchange, identity_of
from testgrove.system.store.schema import JSON_DEFAULTS, SCHEMA_VERSION, TABLES, damage_of, is_damage, migrate
from testgrove.system.trusted_paths import require_own_file

Row = dict[str, Any]
T = TypeVar("T")
HOLDERS = "holders.lock"  # next to the store, created by the first command that holds something
_TRIES = 5  # a store is replaced by another command at the same time, at worst


class StateDatabase:
    """A connection that threads share; a transaction locks it.

    The first command that finds a damaged store moves it aside and replaces it by a new one with all readable
    rows. Other commands notice that at their next use, and open the new one. on_damage: called with a message.

    Raises StoreError, and PreconditionError (``store-newer``).
    """

    def __init__(self, path: Path, on_damage: Callable[[str], object] = lambda _text: None) -> None:
        self.path = path
        self._on_damage = on_damage
        self._mutex = threading.RLock()
        self._db, self._identity = self._open()

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
            self._retried(lambda db: db.execute("BEGIN IMMEDIATE"))
            try:
                yield self._db
                self._db.execute("COMMIT")
            except sqlite3.IntegrityError:
                self._roll_back()
                raise
            except sqlite3.Error as error:
                self._roll_back()
                if is_damage(error):
                    self._replace(error)
                raise _unusable(self.path, error) from error
            except BaseException:
                self._roll_back()
                raise

    def _roll_back(self) -> None:
        if self._db.in_transaction:
            with suppress(sqlite3.Error):  # SQLite has done it itself where a disk is full
                self._db.execute("ROLLBACK")

    def retire(self, check: Callable[[], object]) -> None:
        """Delete the store's files, unless check raises. A command that has the store open finds it damaged, and
        opens a new one."""
        with exclusive(self.path.with_suffix(".lock"), what=f"the store {self.path}", timeout=30.0):
            with self.transaction() as db:
                check()
                for table in TABLES:
                    db.execute(f"DROP TABLE {table}")
            self.close()
            for file in files_of(self.path):
                file.unlink(missing_ok=True)

    def rows(self, sql: str, *values: object) -> list[Row]:
        """The rows of a query, JSON columns decoded."""

        def read(db: sqlite3.Connection) -> list[Row]:
            return [_decode(row) for row in db.execute(sql, values).fetchall()]

        with self._mutex:
            return read(self._db) if self._db.in_transaction else self._retried(read)

    def _retried(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Return the result of work; a store that turns out to be damaged is replaced, and work is done once more."""
        if identity_of(self.path) not in (self._identity, None):
            self._db.close()
            self._db, self._identity = self._open()
        try:
            return work(self._db)
        except sqlite3.Error as error:
            if not is_damage(error):
                raise _unusable(self.path, error) from error
            self._replace(error)
        try:
            return work(self._db)
        except sqlite3.Error as error:
            raise _unusable(self.path, error) from error

    def _replace(self, error: Exception) -> None:
        self._db.close()
        self._move_aside(self._identity, error)
        self._db, self._identity = self._open()

    def _open(self) -> tuple[sqlite3.Connection, Identity | None]:
        for _ in range(_TRIES):
            try:
                return _connect(self.path)
            except _ReplacedError:
                continue
            except _DamagedError as error:
                self._move_aside(error.identity, error)
        raise _unusable(self.path, _DamagedError("it is damaged, and so is each replacement", None))

    def _move_aside(self, damaged: Identity | None, error: Exception) -> None:
        try:
            folder = exchange(self.path, damaged)
        except (sqlite3.Error, OSError) as second:
            raise _unusable(self.path, second) from second
        if folder is not None:
            self._on_damage(
                f"the store {self.path} was damaged ({error}): it was moved to {folder}, and its readable rows were "
                "copied to a new store"
            )

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


class _DamagedError(Exception):
    """The file is not a sound store. identity: which file it was."""

    def __init__(self, problem: str, identity: Identity | None) -> None:
        super().__init__(problem)
        self.identity = identity


class _ReplacedError(Exception):
    """Another command has put another store in this one's place just now."""


def _connect(path: Path) -> tuple[sqlite3.Connection, Identity | None]:
    """A connection to a sound store, made where there is none, and which file it is.

    Raises _DamagedError, _ReplacedError, TestgroveError.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if _is_ours_but_no_file(path):
            raise _DamagedError("it is not a file", identity_of(path))
        for suffix in ("", "-wal", "-shm", "-journal"):
            require_own_file(path.with_name(path.name + suffix))
        require_own_file(path.with_suffix(".new"))
        finish_exchange(path)
        path.touch(mode=0o600)  # what a lease needs to undo a database elsewhere can be a URL with a password
        identity = identity_of(path)
        db = sqlite3.connect(path, timeout=30.0, isolation_level=None, check_same_thread=False)
    except (sqlite3.Error, OSError) as error:
        raise _unusable(path, error) from error
    try:
        _prepare(db, path, identity)
    except sqlite3.Error as error:
        db.close()
        if is_damage(error):
            raise _DamagedError(str(error), identity) from error
        raise _unusable(path, error) from error
    except BaseException:
        db.close()
        raise
    return db, identity


def _is_ours_but_no_file(path: Path) -> bool:
    """Return whether a folder, pipe or socket of this user's is in the place of the store. One of another user is
    refused."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return False
    odd = not stat.S_ISREG(found.st_mode) and not stat.S_ISLNK(found.st_mode)
    return odd and found.st_uid == os.geteuid()


def _prepare(db: sqlite3.Connection, path: Path, identity: Identity | None) -> None:
    _require_same(path, identity)
    db.row_factory = sqlite3.Row
    if db.execute("PRAGMA user_version").fetchone()[0] != SCHEMA_VERSION:
        # Switching to WAL does not wait for a busy database, so only one process may try.
        with exclusive(path.with_suffix(".lock"), what=f"the store {path}", timeout=30.0):
            _require_same(path, identity)
            if not path.stat().st_size and path.with_name(HOLDERS).exists():
                raise _DamagedError("it is empty, although commands have used it", identity)
            migrate(db, path)
    db.execute("PRAGMA synchronous = NORMAL")
    if damage := damage_of(db):
        raise _DamagedError(damage, identity)


def _require_same(path: Path, identity: Identity | None) -> None:
    """Never write to a file that is no longer at the store's path: SQLite finds its other files by the path."""
    if identity_of(path) != identity:
        raise _ReplacedError


def _unusable(path: Path, error: Exception) -> TestgroveError:
    code = getattr(error, "sqlite_errorcode", 0) or 0
    if code & 0xFF == sqlite3.SQLITE_FULL:
        return ExhaustedError(
            "disk-full", f"no disk space left for the store {path}", hint=f"df -h {shlex.quote(str(path.parent))}"
        )
    if isinstance(error, sqlite3.Error) and is_damage(error):
        message = f"the store {path} was damaged ({error}) and was replaced while this command used it"
        return StoreError("store-damaged", message, hint="run the command again")
    return StoreError(
        "store-unusable",
        f"cannot use the store {path}: {error}",
        hint="check the folder's permissions and free space, or set TESTGROVE_STATE_DIR to another folder",
    )


def _encode(values: Row) -> Sequence[object]:
    return [json.dumps(value) if name in JSON_DEFAULTS else value for name, value in values.items()]


def _decode(row: sqlite3.Row) -> Row:
    try:
        return {
            name: json.loads(row[name]) if name in JSON_DEFAULTS else row[name]
            for name in row.keys()  # noqa: SIM118 - a Row iterates over values
        }
    except (ValueError, TypeError) as error:
        raise sqlite3.DatabaseError(f"a column is not JSON: {error}") from error
