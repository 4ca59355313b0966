"""Migrations as plain SQL files: in pairs (0001_name.up.sql, 0001_name.down.sql), or each with two sections, as dbmate,
goose and sql-migrate have them (``-- migrate:up``, ``-- +goose Down``)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePosixPath

from testgrove.core.frozen import frozen
from testgrove.core.migrations.steps import Migration
from testgrove.core.migrations.tool import Listing, Models, Script, Work
from testgrove.errors import PreconditionError, UsageError

_SECTION = re.compile(r"^--[ \t]*\+?(?:migrate|goose)[ \t:]*(up|down)\b.*\n?", re.MULTILINE | re.IGNORECASE)
_Ways = dict[str, tuple[str, str]]  # by the path without its ending: a file and its SQL


def is_migration(file: str, data: bytes) -> bool:
    """Return whether a file is one of a pair, or has sections."""
    if file.endswith((".up.sql", ".down.sql")):
        return True
    return file.endswith(".sql") and any(found[1].lower() == "up" for found in _SECTION.finditer(_text(data)))


def _text(data: bytes) -> str:
    return data.decode(errors="surrogateescape")


def _ways(files: Sequence[tuple[str, bytes]]) -> tuple[_Ways, _Ways]:
    """Return the texts of all migrations that lead up, and of those that lead down, by name."""
    ways: dict[str, _Ways] = {"up": {}, "down": {}}
    for file, data in files:
        whole = next((way for way in ways if file.endswith(f".{way}.sql")), "")
        if whole:
            ways[whole][file.removesuffix(f".{whole}.sql")] = file, _text(data)
            continue
        _, *parts = _SECTION.split(_text(data))
        for way, sql in zip(parts[::2], parts[1::2], strict=True):
            if sql.strip():
                ways[way.lower()][file.removesuffix(".sql")] = file, sql
    return ways["up"], ways["down"]


@frozen
class SqlFiles:
    """pairs: the name of each migration, its way forward and its way back, if it has one, in order."""

    pairs: tuple[tuple[str, Script, Script | None], ...]
    name = "SQL files"
    listing = None
    models = None

    @classmethod
    def of(cls, files: Sequence[tuple[str, bytes]]) -> SqlFiles:
        """Raises UsageError (``sql-folders``, ``sql-pairs``)."""
        folders = sorted({str(PurePosixPath(file).parent) for file, _ in files})
        if len(folders) > 1:
            raise UsageError(
                "sql-folders",
                f"found SQL migrations in several folders: {', '.join(folders)}",
                hint=f'choose one: inputs = ["{folders[0]}/*.sql"]',
            )
        ups, downs = _ways(files)
        for path in sorted(downs.keys() - ups.keys()):
            there = PurePosixPath(path).name
            raise UsageError("sql-pairs", f"{downs[path][0]} has no up migration (expected {there}.up.sql)")
        paths = sorted(ups, key=_order)
        names = ["base", *(PurePosixPath(path).name for path in paths)]
        pairs = []
        for before, name, path in zip(names, names[1:], paths, strict=False):
            back = Script(*downs[path], before) if path in downs else None
            pairs.append((name, Script(*ups[path], name), back))
        return cls(tuple(pairs))

    def read(self, output: str) -> Listing:  # noqa: ARG002 - there is nothing to ask
        """Implement Tool. Two files with one number are two heads."""
        names = [name for name, _, _ in self.pairs]
        numbers = [_number(name) for name in names]
        twice = [name for name in names if _number(name) is not None and numbers.count(_number(name)) > 1]
        parents = [(), *((name,) for name in names)]
        plan = tuple(Migration(name, above) for name, above in zip(names, parents, strict=False))
        return Listing(plan, ", ".join(twice))

    def _index(self, revision: str) -> int:
        """Return how many migrations a database at a revision has."""
        if revision == "base":
            return 0
        if revision == "head":
            return len(self.pairs)
        names = [name for name, _, _ in self.pairs]
        found = [number for number, name in enumerate(names, 1) if name == revision or name.startswith(f"{revision}_")]
        if len(found) != 1:
            raise UsageError("unknown-revision", f"migration '{revision}' not found", hint=", ".join(names))
        return found[0]

    def revision(self, sequence: str, name: str) -> str:  # noqa: ARG002 - there is one only
        """Implement Tool."""
        return name or "base"

    def forward(self, revision: str, at: str) -> tuple[Work, ...]:
        """Implement Tool."""
        return tuple(up for _, up, _ in self.pairs[self._index(at) : self._index(revision)])

    def back(self, revision: str, at: str) -> tuple[Work, ...]:
        """Implement Tool."""
        found = []
        for name, _, down in reversed(self.pairs[self._index(revision) : self._index(at)]):
            if down is None:
                raise PreconditionError("irreversible", f"{name} has no down migration (expected {name}.down.sql)")
            found.append(down)
        return tuple(found)

    def judge(self, status: int, output: str) -> tuple[Models, str]:  # noqa: ARG002 - there are no models
        """Implement Tool."""
        return "not compared", "SQL migrations have no models"


def _number(name: str) -> int | None:
    """Return the beginning of a migration's name: ``0001`` and ``1`` are one number."""
    digits = name[: len(name) - len(name.lstrip("0123456789"))]
    return int(digits) if digits else None


def _order(path: str) -> tuple[int, str]:
    """Return the sort key of a migration: 9 is before 10."""
    name = PurePosixPath(path).name
    return _number(name) or 0, name
