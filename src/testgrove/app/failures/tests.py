"""Databases of failed tests that people asked to keep: a dump of each, few and not old."""

from __future__ import annotations

import json
import re
import shutil
import threading
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from secrets import token_hex

from testgrove.app.failures.cells import dump_program
from testgrove.app.launcher import SupervisedLauncher
from testgrove.app.project import Project
from testgrove.app.worktrees.creation import git_excluded
from testgrove.core.model import DatabaseAccess
from testgrove.errors import PreconditionError
from testgrove.services.engines.sqlite.files import copy_whole
from testgrove.system import git
from testgrove.system.deletion import delete_tree
from testgrove.system.files import explained
from testgrove.system.processes.process import scrubbed

KEPT = 20
KEPT_DAYS = 7
_ABOUT = "about.json"
_FILES = {"postgres": "database.sql", "sqlite": "database.sqlite3"}
_TIMEOUT = 600.0  # seconds for a dump, or for reading one
_LOCKED = 5000  # milliseconds that a dump waits for a lock which the test has left


@dataclass(frozen=True)
class FailedDatabase:
    """One that was kept. test: whose it was; kept: when, UTC."""

    name: str
    engine: str
    test: str
    kept: str
    folder: Path

    @property
    def file(self) -> Path:
        """What is in it: SQL, or an SQLite file."""
        return self.folder / _FILES[self.engine]

    @property
    def age(self) -> timedelta:
        """Since it was kept."""
        return datetime.now(UTC) - datetime.fromisoformat(self.kept)


class Evidence:
    """Keeps databases as they are. launcher: for dumps."""

    def __init__(self, project: Project, launcher: SupervisedLauncher) -> None:
        self._project, self._launcher = project, launcher
        self._guard = threading.Lock()

    def keep(self, access: DatabaseAccess, test: str) -> str:
        """Write down what is in a database; the name under which it is found. test: whose it was.

        Raises PreconditionError (``not-kept``) for an engine of which nothing can be kept, UnavailableError.
        """
        if access.engine not in _FILES:
            raise PreconditionError("not-kept", f"what is in a {access.engine} database cannot be kept")
        words = re.sub("[^A-Za-z0-9]+", "-", test.rpartition("::")[2]).strip("-")[:40] or "test"
        name = f"{words}-{token_hex(2)}"
        folder = self._place(name)
        try:
            self._write(access, folder / _FILES[access.engine])
            about = {"engine": access.engine, "test": test, "kept": datetime.now(UTC).isoformat(timespec="seconds")}
            with explained("write", folder):
                (folder / _ABOUT).write_text(json.dumps(about) + "\n", encoding="utf-8")  # last: then it is whole
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        with self._guard:
            trim(self._project)
        return name

    def _place(self, name: str) -> Path:
        folder = _folder(self._project) / name
        git.exclude(self._project.repository, git_excluded(self._project))
        with explained("create the folder", folder):
            folder.mkdir(parents=True)
        return folder

    def _write(self, access: DatabaseAccess, file: Path) -> None:
        if access.engine == "sqlite":
            return copy_whole(Path(access.name), file)
        program = dump_program(self._project)
        options = ("--no-password", "--no-owner", "--no-privileges", "--no-comments")
        locks, target = f"--lock-wait-timeout={_LOCKED}", access.url(redacted=True)
        argv = [program, *options, locks, "--file", str(file), target]
        self._launcher.run(argv, cwd=file.parent, env=reaching(access), timeout=_TIMEOUT)
        return None


def reaching(access: DatabaseAccess) -> dict[str, str]:
    """What a client program needs besides a URL without the password."""
    return scrubbed() | {"PGPASSWORD": access.password.reveal(), "PGCONNECT_TIMEOUT": "10"}


def _folder(project: Project) -> Path:
    return project.artifacts / "databases"


def failed_databases(project: Project) -> list[FailedDatabase]:
    """All that are kept, the newest first."""
    found = []
    for file in _folder(project).glob(f"*/{_ABOUT}"):
        try:
            found.append(FailedDatabase(name=file.parent.name, folder=file.parent, **json.loads(file.read_text())))
        except (OSError, ValueError, TypeError):
            continue  # it is being taken away, or is nobody's
    return sorted(found, key=lambda each: each.kept, reverse=True)


def trim(project: Project) -> None:
    """Take away those that are too many, or old."""
    for number, each in enumerate(failed_databases(project)):
        if number >= KEPT or each.age > timedelta(days=KEPT_DAYS):
            remove_kept(each)


def remove_kept(database: FailedDatabase) -> None:
    """Take one away."""
    delete_tree(database.folder, within=database.folder.parent)


def described(database: FailedDatabase) -> dict[str, str]:
    """For `db list`."""
    return {key: str(value) for key, value in asdict(database).items() if key != "folder"} | {
        "file": str(database.file)
    }
