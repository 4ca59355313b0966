"""The command that migrates a project's database."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import PurePosixPath
from typing import NamedTuple

from testgrove.core.folders import below

_SQL = re.compile(r"(?:[\w./-]*[/_])?(?:migrations|sql|schema)/[^/]+\.sql")
_WAY_BACK = re.compile(r".*[._-](?:down|undo|rollback|revert)\.sql", re.IGNORECASE)
_NO_CODE = frozenset({"docs", "doc", "examples", "example", "tests", "test", "templates", "vendor", "node_modules"})
_UP = re.compile(r".*\.up\.sql", re.IGNORECASE)


class Migration(NamedTuple):
    """command: empty where nothing is found. inputs: its globs where the usual ones do not fit.

    directory: where it runs, relative to the top.
    """

    command: str = ""
    inputs: tuple[str, ...] = ()
    directory: str = ""


def find_migration(files: Collection[str], *, several_bases: bool = False) -> Migration:
    """The command that brings a database up to date: at the top, else in the only folder that has one.

    several_bases: Alembic has more than one place for revisions.
    """
    if (found := _find(files, several_bases=several_bases)).command:
        return found
    folders = {name.rpartition("/")[0] for name in files if name.endswith(("/alembic.ini", "/manage.py"))}
    below_them = [
        _find(below(folder, files), several_bases=several_bases)._replace(directory=folder)
        for folder in sorted(folders)
        if _NO_CODE.isdisjoint(folder.split("/"))
    ]
    migrations = [each for each in below_them if each.command]
    return migrations[0] if len(migrations) == 1 else Migration()


def _find(files: Collection[str], *, several_bases: bool) -> Migration:
    if "alembic.ini" in files:
        return Migration(f"alembic upgrade {'heads' if several_bases else 'head'}")
    if "manage.py" in files and any("/migrations/" in f"/{name}" for name in files):
        return Migration("python manage.py migrate --noinput")
    return _of_scripts(files)


def _of_scripts(files: Collection[str]) -> Migration:
    scripts = [name for name in files if _SQL.fullmatch(name) and not _WAY_BACK.fullmatch(name)]
    folders = {str(PurePosixPath(name).parent) for name in scripts}
    if len(folders) != 1:
        return Migration()
    folder = folders.pop()
    pattern = _pattern(folder, files)
    if not pattern:
        return Migration()
    command = f"for file in {folder}/{pattern}; do psql -q -v ON_ERROR_STOP=1 -f $file || exit 1; done"
    return Migration(command, (f"{folder}/*.sql",))


def _pattern(folder: str, files: Collection[str]) -> str:
    """The glob of the scripts that lead forward; empty where none tells them from those that lead back."""
    there = [name for name in files if str(PurePosixPath(name).parent) == folder and name.endswith(".sql")]
    back = any(_WAY_BACK.fullmatch(name) for name in there)
    forward = [name for name in there if not _WAY_BACK.fullmatch(name)]
    if not back:
        return "*.sql"
    return "*.up.sql" if all(_UP.fullmatch(name) for name in forward) else ""
