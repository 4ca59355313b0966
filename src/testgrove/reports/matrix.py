"""A run as a table: suites down, interpreters across; or what else its cells differ in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from testgrove.core.frozen import frozen
from testgrove.reports.figures import BAD, all_skipped, outcomes
from testgrove.reports.wording import flat

if TYPE_CHECKING:
    from testgrove.core.runs.events import CellInfo
    from testgrove.core.runs.result import CellResult, RunResult


@frozen
class Field:
    """One cell: its number in the run from 1, how it ended in a word, and its tests in a few."""

    number: int
    word: str
    counts: str

    def __str__(self) -> str:
        return " ".join(filter(None, [self.word, self.counts]))


@frozen
class Matrix:
    """columns: their heads. rows: a head and a field for each column, None where there is no such cell."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Field | None, ...]], ...]


def matrix(result: RunResult) -> Matrix | None:
    """The table of a run with more than one interpreter, dependency set or engine version; None for any other run."""
    cells = list(result.cells.values())
    across = next((axis for axis in _AXES if len({axis(cell.info) for cell in cells}) > 1), None)
    if across is None:
        return None
    fields = {}
    for number, cell in enumerate(cells, 1):
        others = (axis(cell.info) for axis in _AXES if axis is not across)
        row = flat(" ".join(filter(None, [_suite(cell.info), *others])))
        fields[row, flat(across(cell.info)) or "default"] = Field(number, _word(cell), _counts(cell))
    columns = tuple(dict.fromkeys(column for _, column in fields))
    rows = dict.fromkeys(row for row, _ in fields)
    return Matrix(columns, tuple((row, tuple(fields.get((row, column)) for column in columns)) for row in rows))


def table(found: Matrix) -> list[str]:
    """The table as lines of text, columns aligned."""
    rows = [("", *found.columns), *((row, *(str(field or "") for field in fields)) for row, fields in found.rows)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(f"{text:{width}}" for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _suite(info: CellInfo) -> str:
    return f"{info.suite}@{info.ref}" if info.ref else info.suite


def _python(info: CellInfo) -> str:
    return f"py{info.python}" if info.python else ""


def _deps(info: CellInfo) -> str:
    return info.deps


def _versions(info: CellInfo) -> str:
    return " ".join(f"{engine}{version}" for engine, version in info.versions.items())


_AXES = (_python, _deps, _versions)


def _word(cell: CellResult) -> str:
    return "all skipped" if all_skipped(cell) else cell.status or "unfinished"


def _counts(cell: CellResult) -> str:
    counts = outcomes(cell.last)
    total, bad = sum(counts.values()), sum(counts[outcome] for outcome in BAD)
    return f"{bad:,} of {total:,}" if bad else f"{counts['passed']:,}" if total else ""
