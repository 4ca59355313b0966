"""The last lines of a run that did not pass: the cause, and what to type next."""

from __future__ import annotations

import posixpath
import shlex
from typing import TYPE_CHECKING

from testgrove.core.lazy_pattern import lazy_pattern
from testgrove.core.text import some
from testgrove.reports.figures import failures
from testgrove.reports.wording import clean, flat, one_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from testgrove.core.runs.result import CellResult, RunResult

SHOWN = 5
_LONGEST = 300
_HINT = lazy_pattern(r"\s*(?:hint:|$)")


def closing(result: RunResult, folder: str) -> Iterator[tuple[str, str]]:
    """Yield the lines of each cause, which are itself and its hint, with their styles; cells with the same share them.

    folder: the run's folder, or empty. Tests that failed for reasons of their own have no hint and are not repeated.
    """
    groups: dict[tuple[str, str], tuple[list[str], str]] = {}
    for cell in result.cells.values():
        hint = cell.hint or _log(cell, folder)
        if cell.status == "error" or (cell.status == "failed" and hint):
            keys, _ = groups.setdefault((cause(cell), cell.hint), ([], hint))
            keys.append(flat(cell.info.key))
    for (why, _), (keys, hint) in list(groups.items())[:SHOWN]:
        yield (f"{some(keys, 3)}: {why}", "red")
        if hint:
            yield (f"  hint: {flat(hint)}", "bold")
    if len(groups) > SHOWN:
        yield (f"… and {len(groups) - SHOWN} more causes, each with a hint: report.html", "")


def cause(cell: CellResult) -> str:
    """Why a cell did not pass, in one line: of a long reason the last line, else what its first failed test says."""
    reason = clean(cell.reason or (cell.last.reason if cell.last else ""))
    lines = [line.strip() for line in reason.splitlines() if not _HINT.match(line)]
    if lines:
        return one_line(lines[-1], _LONGEST)
    test = next(iter(failures(cell.last)), None)
    return one_line(f"{test.nodeid}: {test.message}", _LONGEST) if test else cell.status or ""


def _log(cell: CellResult, folder: str) -> str:
    """Return the log of a cell that could not run, which tells more."""
    if cell.status != "error" or cell.last is None or not cell.last.log:
        return ""
    return f"less {shlex.quote(posixpath.join(folder, cell.last.log))}"
