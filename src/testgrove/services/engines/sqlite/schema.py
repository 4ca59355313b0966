"""The schema of an SQLite file.

The text of a table's CREATE is not compared: a tool that copies a table to change it writes another one.
"""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from testgrove.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from testgrove.core.model import DatabaseAccess

OWN = ("alembic_version", "django_migrations")  # tables that migration tools keep for themselves


def read(access: DatabaseAccess) -> dict[str, str]:
    """Each thing by its kind and name, with its definition. Raises UnavailableError."""
    found: dict[str, str] = {}
    with _opened(access, "read the schema of", mode="ro") as database:
        rows = database.execute("SELECT type, name, tbl_name, coalesce(sql, '') FROM sqlite_master").fetchall()
        for kind, name, table, text in rows:
            if table in OWN or name.startswith("sqlite_"):
                continue
            if kind == "table":
                found |= _table(database, name, text)
            else:
                found[f"{kind} {name}"] = _plain(text)
    return found


@contextmanager
def _opened(access: DatabaseAccess, what: str, *, mode: str = "rwc") -> Iterator[sqlite3.Connection]:
    """Open a file. what: completes "cannot …"."""
    path = Path(access.name)
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode={mode}", uri=True)) as database:
            yield database
    except sqlite3.Error as error:
        raise UnavailableError("sqlite-failed", f"cannot {what} {path}: {error}") from error


def _table(database: sqlite3.Connection, name: str, text: str) -> dict[str, str]:
    words = [
        word for word in ("AUTOINCREMENT", "WITHOUT ROWID", "STRICT") if re.search(rf"\b{word}\b", text, re.IGNORECASE)
    ]
    if text.upper().startswith("CREATE VIRTUAL"):
        return {f"table {name}": _plain(text)}
    found = {f"table {name}": ", ".join([*words, *sorted(_checks(text))])}
    for _, column, kind, required, default, key, hidden in _pragma(database, "table_xinfo", name):
        parts = [kind, "NOT NULL" * required, f"DEFAULT {default}" * (default is not None), f"KEY {key}" * bool(key)]
        found[f"column {name}.{column}"] = " ".join(filter(None, [*parts, "GENERATED" * (hidden in {2, 3})]))
    keys: dict[int, list[tuple[Any, ...]]] = {}
    for number, *rest in _pragma(database, "foreign_key_list", name):
        keys.setdefault(number, []).append(tuple(rest))
    for parts in keys.values():
        ours, theirs = (", ".join(str(part[at]) for part in sorted(parts)) for at in (2, 3))
        _, table, _, _, update, delete, _ = parts[0]
        found[f"foreign key {name} ({ours})"] = f"{table} ({theirs}) ON UPDATE {update} ON DELETE {delete}"
    for _, index, unique, origin, _ in _pragma(database, "index_list", name):
        if origin == "u" and unique:
            columns = ", ".join(str(column) for _, _, column in _pragma(database, "index_info", index))
            found[f"unique {name} ({columns})"] = ""
    return found


def _pragma(database: sqlite3.Connection, pragma: str, name: str) -> list[Any]:
    return database.execute(f"SELECT * FROM pragma_{pragma}(?)", (name,)).fetchall()  # noqa: S608 - our own words


def _checks(text: str) -> list[str]:
    """Return the CHECK conditions of a table: the text in the brackets after the word."""
    found = []
    for start in re.finditer(r"\bCHECK\s*\(", text, re.IGNORECASE):
        depth, end = 1, start.end()
        while depth and end < len(text):
            depth += {"(": 1, ")": -1}.get(text[end], 0)
            end += 1
        found.append(f"CHECK ({_plain(text[start.end() : end - 1])})")
    return found


def _plain(text: str) -> str:
    return " ".join(text.split())


def is_untouched(access: DatabaseAccess) -> bool:
    """Return whether there is nothing at all in a file. Raises UnavailableError."""
    with _opened(access, "read") as database:
        return database.execute("SELECT 1 FROM sqlite_master").fetchone() is None


def delete_rows(access: DatabaseAccess) -> None:
    """Empty every table, but those that migration tools keep for themselves. Raises UnavailableError."""
    with _opened(access, "empty") as database:
        for name in _tables(database):
            quoted = name.replace('"', '""')
            database.execute(f'DELETE FROM "{quoted}"')  # noqa: S608 - there are no parameters for names
        database.commit()


def _tables(database: sqlite3.Connection) -> list[str]:
    """The names of a file's tables, but those that migration tools keep for themselves."""
    rows = database.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'"
    ).fetchall()
    return [name for (name,) in rows if name not in OWN and not _is_version_table(database, name)]


def _is_version_table(database: sqlite3.Connection, name: str) -> bool:
    return [column for _, column, *_ in _pragma(database, "table_xinfo", name)] == ["version_num"]


def execute(sql: str, access: DatabaseAccess, *, timeout: float) -> None:  # noqa: ARG001 - it has none
    """Implement Schemas."""
    with closing(sqlite3.connect(access.name)) as database:
        try:
            database.executescript(sql)
        except (sqlite3.Error, UnicodeEncodeError) as error:  # the file need not be UTF-8
            raise UnavailableError("script-failed", str(error)) from error
