"""SQLite for test sessions: a fresh copy of the migrated file for each test."""

from __future__ import annotations

import secrets
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from testgrove.errors import PreconditionError, UnavailableError
from testgrove.system.files import explained

if TYPE_CHECKING:
    from testgrove.core.model import DatabaseAccess

FILE = "db.sqlite3"


class SqliteShare:
    """One client's files. Implements broker.Share. copy: writes a migrated file to a path. folder: of the files."""

    def __init__(self, copy: Callable[[Path], DatabaseAccess], folder: Path) -> None:
        self._copy, self._folder = copy, folder
        self._held: dict[str, Path] = {}
        self._closed = False
        self._guard = threading.Lock()

    def get(self, isolation: str) -> DatabaseAccess:  # noqa: ARG002 - there is one
        """Return a migrated file in a new folder. Raises TestgroveError."""
        folder = self._folder / secrets.token_hex(4)
        try:
            with explained("create the folder", folder):
                folder.mkdir(parents=True, mode=0o700)
            access = self._copy(folder / FILE)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        with self._guard:
            if not self._closed:
                self._held[access.name] = folder
                return access
        shutil.rmtree(folder, ignore_errors=True)
        raise UnavailableError("broker-closed", "the broker has closed")

    def put(self, name: str) -> None:
        """Take back a database that the client does not need any more. Raises PreconditionError (``not-leased``)."""
        shutil.rmtree(self._take(name), ignore_errors=True)

    def keep(self, name: str) -> None:
        """Keep it unchanged until the broker ends. Raises PreconditionError (``not-leased``)."""
        self._take(name)

    def close(self) -> None:
        """Remove all files except those that are kept. A second call does nothing."""
        with self._guard:
            self._closed = True
            held, self._held = self._held, {}
        for folder in held.values():
            shutil.rmtree(folder, ignore_errors=True)

    def _take(self, name: str) -> Path:
        if name not in self._held:
            raise PreconditionError("not-leased", f"this client holds no file '{name}'")
        return self._held.pop(name)
