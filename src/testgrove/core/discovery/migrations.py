"""The command that migrates a project's database."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import PurePosixPath

_SQL = re.compile(r"(?:[\w./-]*[/_])?(?:migrations|sql|schema)/[^/]+\.sql")
_WAY_BACK = re.compile(r".*[._-](?:down|undo|rollback|revert)\.sql", re.IGNORECASE)
_UP = re.compile(r".*\.up\.sql", re.IGNORECASE)


def find_migration(files: Collection[str], *, several_bases: bool = False) -> tuple[str, tuple[str, ...]]:
    """The command that brings a database up to date, and its input globs where the usual ones do not fit.

    several_bases: Alembic has more than one place for revisions. Both are empty where nothing is found.
    """
    if "alembic.ini" in files:
        return f"alembic upgrade {'heads' if several_bases else 'head'}", ()
    if "manage.py" in files and any("/migrations/" in f"/{name}" for name in files):
        return "python manage.py migrate --noinput", ()
    scripts = [name for name in files if _SQL.fullmatch(name) and not _WAY_BACK.fullmatch(name)]
    folders = {str(PurePosixPath(name).parent) for name in scripts}
    if len(folders) != 1:
        return "", ()
    folder = folders.pop()
    pattern = _pattern(folder, files)
    if not pattern:
        return "", ()
    command = f"for file in {folder}/{pattern}; do psql -q -v ON_ERROR_STOP=1 -f $file || exit 1; done"
    return command, (f"{folder}/*.sql",)


def _pattern(folder: str, files: Collection[str]) -> str:
    """The glob of the scripts that lead forward; empty where none tells them from those that lead back."""
    there = [name for name in files if str(PurePosixPath(name).parent) == folder and name.endswith(".sql")]
    back = any(_WAY_BACK.fullmatch(name) for name in there)
    forward = [name for name in there if not _WAY_BACK.fullmatch(name)]
    if not back:
        return "*.sql"
    return "*.up.sql" if all(_UP.fullmatch(name) for name in forward) else ""
