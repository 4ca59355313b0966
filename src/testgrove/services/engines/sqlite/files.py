"""SQLite: a migrated file, kept for each fingerprint, and a copy of it for each worktree."""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING

from testgrove.core.model import DatabaseAccess
from testgrove.core.secret import Secret
from testgrove.errors import PreconditionError, UnavailableError, UsageError
from testgrove.services.engines.sqlite.declaration import ENGINE
from testgrove.services.failures import Failures
from testgrove.services.trimming import trim
from testgrove.system.files import explained

if TYPE_CHECKING:
    from collections.abc import Callable

    from testgrove.system.locks import LockFile, OnWait

MAX_TEMPLATES = 20  # files
MAX_DAYS = 30
_TIMEOUT = 1800.0  # seconds for another command that builds a template
LOCKED = 5.0  # seconds that a copy waits for the lock of another process


class SqliteTemplates:
    """The migrated files, shared by all runs of a user. directory: where they are kept; locks: for builders; fresh:
    what others have built is not used, but replaced."""

    def __init__(self, directory: Path, locks: LockFile, *, fresh: bool = False) -> None:
        self._directory = directory
        self._locks = locks
        self._failures = Failures()
        self._fresh = fresh
        self._built: set[Path] = set()  # by ourselves

    def copy_to(
        self,
        path: Path,
        fingerprint: str,
        build: Callable[[DatabaseAccess], object],
        *,
        on_wait: OnWait | None = None,
    ) -> DatabaseAccess:
        """Create a database at path, which does not exist yet.

        build: migrates the empty database that it receives, which is at path; called if no file with this fingerprint
        is kept. Its exceptions are raised here and in the callers that waited for this build.
        Raises PreconditionError (``sqlite-path-taken``), UsageError (``sqlite-path``).
        """
        _check(path)
        access = DatabaseAccess("sqlite", str(path), "", 0, "", Secret(""))
        kept, began = self._directory / f"{fingerprint}.sqlite3", time.monotonic()
        with explained("keep the database template in", self._directory):
            self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            path.parent.mkdir(parents=True, exist_ok=True)
        if not self._exists(kept):
            what = f"the database template {fingerprint[:16]}, which another command is building"
            with (
                self._locks.hold(f"sqlite {fingerprint}", what=what, timeout=_TIMEOUT, on_wait=on_wait),
                self._failures.remembered(fingerprint, began),
            ):
                if not self._exists(kept):
                    self._build(access, path, kept, build)
        with explained("create the database", path):
            os.utime(kept)  # the time of its last use
            shutil.copyfile(kept, path)
        return access

    def _exists(self, kept: Path) -> bool:
        return kept.exists() and (kept in self._built or not self._fresh)

    def _build(self, access: DatabaseAccess, path: Path, kept: Path, build: Callable[[DatabaseAccess], object]) -> None:
        temporary = kept.with_name(f"{kept.stem}.{token_hex(4)}.tmp")
        for stale in self._directory.glob(f"{kept.stem}.*.tmp"):  # of a builder that was killed: we have its lock
            stale.unlink(missing_ok=True)
        try:
            path.touch()
            build(access)
            with explained("keep the database template in", self._directory):
                copy_whole(path, temporary)
                temporary.rename(kept)
            self._built.add(kept)
        finally:
            temporary.unlink(missing_ok=True)
            remove_database(path)
        trim(self._directory, "*.sqlite3", most=MAX_TEMPLATES, days=MAX_DAYS)


def create(path: Path) -> DatabaseAccess:
    """An empty database. Raises PreconditionError (``sqlite-path-taken``), UsageError (``sqlite-path``)."""
    _check(path)
    with explained("make the database", path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return DatabaseAccess("sqlite", str(path), "", 0, "", Secret(""))


def remove_database(path: Path) -> None:
    """Remove a database's file and the files that SQLite creates next to it."""
    for name in (path, *(path.with_name(path.name + end) for end in ENGINE.companion_suffixes)):
        name.unlink(missing_ok=True)


def _check(path: Path) -> None:
    if wrong := sorted(set("?#%") & set(str(path))):
        raise UsageError(
            "sqlite-path",
            f"{path} contains {' '.join(wrong)}, which URL parsers read differently",
            hint="set another folder: [tool.testgrove] root",
        )
    if os.path.lexists(path):
        raise PreconditionError(
            "sqlite-path-taken",
            f"{path} already exists; refusing to replace it with this worktree's database",
            hint='if git tracks it, set another path: [tool.testgrove.services.sqlite] path = "test.sqlite3"',
        )


def copy_whole(source: Path, target: Path) -> None:
    """Copy a database with what its write-ahead log still holds. Raises UnavailableError (``sqlite-failed``)."""
    deadline = time.monotonic() + LOCKED

    def look(status: int, _remaining: int, _total: int) -> None:  # else backup() tries for ever
        if status in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED) and time.monotonic() > deadline:
            raise UnavailableError("sqlite-locked", f"another process holds a write lock on {source}")

    try:
        with closing(sqlite3.connect(source, timeout=LOCKED)) as database, closing(sqlite3.connect(target)) as copy:
            database.backup(copy, progress=look)
            copy.execute("PRAGMA journal_mode = DELETE")  # no other files next to it
            mode = database.execute("PRAGMA journal_mode").fetchone()[0]
            if mode == "wal":
                copy.execute("PRAGMA journal_mode = WAL")
    except sqlite3.Error as error:
        raise UnavailableError("sqlite-failed", f"{source} is not a complete SQLite database: {error}") from error


def templates(cache: Path, locks: LockFile, *, fresh: bool) -> SqliteTemplates:
    """Implement FileEngine."""
    return SqliteTemplates(cache / "sqlite", locks, fresh=fresh)


def dump(access: DatabaseAccess, file: Path, *_how: object) -> None:
    """Implement Dumps."""
    copy_whole(Path(access.name), file)


def load(file: Path, access: DatabaseAccess, *_how: object) -> None:
    """Implement Dumps."""
    shutil.copyfile(file, access.name)
