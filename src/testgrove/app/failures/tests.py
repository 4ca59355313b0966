"""Databases of failed tests that people asked to keep: a dump of each, few and not old."""

from __future__ import annotations

import json
import re
import shutil
import threading
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from secrets import token_hex

from testgrove.app.launcher import SupervisedLauncher
from testgrove.app.project import Project
from testgrove.app.worktrees.creation import git_excluded
from testgrove.core.engines.registry import default_services, engine_of, implementation_of
from testgrove.core.frozen import frozen
from testgrove.core.model import DatabaseAccess
from testgrove.core.settings.types import Service
from testgrove.errors import PreconditionError
from testgrove.system import git
from testgrove.system.deletion import delete_tree
from testgrove.system.files import explained

KEPT = 20
KEPT_DAYS = 7
_ABOUT = "about.json"


@frozen
class FailedDatabase:
    """One that was kept. test: whose it was; kept: when, UTC."""

    name: str
    engine: str
    test: str
    kept: str
    folder: Path

    @property
    def file(self) -> Path:
        """The name of the dump: SQL, or a database's file."""
        return self.folder / engine_of(self.engine).dump

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
        engine = engine_of(access.engine)
        if not engine.dump:
            raise PreconditionError("not-kept", f"cannot dump a {access.engine} database")
        words = re.sub("[^A-Za-z0-9]+", "-", test.rpartition("::")[2]).strip("-")[:40] or "test"
        name = f"{words}-{token_hex(2)}"
        folder = self._path(name)
        try:
            self._write(access, folder / engine.dump)
            about = {"engine": engine.name, "test": test, "kept": datetime.now(UTC).isoformat(timespec="seconds")}
            with explained("write", folder):
                (folder / _ABOUT).write_text(json.dumps(about) + "\n", encoding="utf-8")  # last: then it is whole
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        with self._guard:
            trim(self._project)
        return name

    def _path(self, name: str) -> Path:
        folder = _folder(self._project) / name
        git.exclude(self._project.repository, git_excluded(self._project))
        with explained("create the folder", folder):
            folder.mkdir(parents=True)
        return folder

    def _write(self, access: DatabaseAccess, file: Path) -> None:
        service = service_of_engine(self._project, access.engine)
        implementation_of(access.engine).dump(access, file, self._launcher, service[1] if service else None)


def service_of_engine(project: Project, engine: str) -> tuple[str, Service] | None:
    """The engine's default service, else any; with its name."""
    services = project.settings.services
    names = [name for name, service in services.items() if service.engine == engine]
    name = default_services(services).get(engine, next(iter(names), ""))
    return (name, services[name]) if name else None


def _folder(project: Project) -> Path:
    return project.artifacts / "databases"


def failed_databases(project: Project) -> list[FailedDatabase]:
    """All that are kept, the newest first."""
    found = []
    for file in _folder(project).glob(f"*/{_ABOUT}"):
        try:
            found.append(FailedDatabase(name=file.parent.name, folder=file.parent, **json.loads(file.read_text())))
        except (OSError, ValueError, TypeError):
            continue  # it is being removed, or has no owner
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
