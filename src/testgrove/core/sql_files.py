"""Migrations as plain SQL files in pairs: 0001_name.up.sql, 0001_name.down.sql."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from testgrove.core.migration_steps import Migration
from testgrove.core.migration_tool import Listing, Models, Script, Work
from testgrove.errors import PreconditionError, UsageError


@dataclass(frozen=True)
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
                f"there are SQL migrations in several folders: {', '.join(folders)}",
                hint=f'say which: inputs = ["{folders[0]}/*.sql"]',
            )
        texts = {file: data.decode(errors="surrogateescape") for file, data in files}
        ups = sorted((file.removesuffix(".up.sql") for file in texts if file.endswith(".up.sql")), key=_place)
        lonely = sorted(file for file in texts if file.endswith(".down.sql") and file[:-9] not in ups)
        if lonely:
            raise UsageError("sql-pairs", f"{lonely[0]} has no {PurePosixPath(lonely[0][:-9]).name}.up.sql beside it")
        names = ["base", *(PurePosixPath(up).name for up in ups)]
        pairs = []
        for before, name, path in zip(names, names[1:], ups, strict=False):
            up, down = f"{path}.up.sql", f"{path}.down.sql"
            back = Script(down, texts[down], before) if down in texts else None
            pairs.append((name, Script(up, texts[up], name), back))
        return cls(tuple(pairs))

    def read(self, output: str) -> Listing:  # noqa: ARG002 - there is nothing to ask
        """See Tool. Two files with one number are two heads."""
        names = [name for name, _, _ in self.pairs]
        numbers = [_number(name) for name in names]
        twice = [name for name in names if _number(name) is not None and numbers.count(_number(name)) > 1]
        parents = [(), *((name,) for name in names)]
        plan = tuple(Migration(name, above) for name, above in zip(names, parents, strict=False))
        return Listing(plan, ", ".join(twice))

    def _index(self, revision: str) -> int:
        """How many migrations a database at a revision has."""
        if revision == "base":
            return 0
        if revision == "head":
            return len(self.pairs)
        names = [name for name, _, _ in self.pairs]
        found = [number for number, name in enumerate(names, 1) if name == revision or name.startswith(f"{revision}_")]
        if len(found) != 1:
            raise UsageError("unknown-revision", f"there is no migration '{revision}'", hint=", ".join(names))
        return found[0]

    def forward(self, revision: str, at: str) -> tuple[Work, ...]:
        """See Tool."""
        return tuple(up for _, up, _ in self.pairs[self._index(at) : self._index(revision)])

    def back(self, revision: str, at: str) -> tuple[Work, ...]:
        """See Tool."""
        found = []
        for name, _, down in reversed(self.pairs[self._index(revision) : self._index(at)]):
            if down is None:
                raise PreconditionError("irreversible", f"there is no {name}.down.sql")
            found.append(down)
        return tuple(found)

    def judge(self, status: int, output: str) -> tuple[Models, str]:  # noqa: ARG002 - there are no models
        """See Tool."""
        return "not compared", "SQL files know no models"


def _number(name: str) -> int | None:
    """What a migration's name begins with: ``0001`` and ``1`` are one number."""
    digits = name[: len(name) - len(name.lstrip("0123456789"))]
    return int(digits) if digits else None


def _place(path: str) -> tuple[int, str]:
    """Where a migration stands: 9 is before 10."""
    name = PurePosixPath(path).name
    return _number(name) or 0, name
