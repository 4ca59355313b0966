"""The text at a run's end: what failed and why, one line of totals, where the reports are."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from testgrove.core.text import some
from testgrove.reports.closing import closing
from testgrove.reports.figures import (
    all_skipped,
    count_cells,
    count_tests,
    failures,
    flaky_tests,
    noun,
    run_status,
)
from testgrove.reports.matrix import matrix, table
from testgrove.reports.wording import clean, counted, flat, leak_line, number, one_line, seconds

if TYPE_CHECKING:
    from collections.abc import Iterator

    from testgrove.core.runs.result import CellResult, RunResult, WorktreeNote

SHOWN_TESTS = 10
SHOWN_TAIL = 20
SHOWN_REASON = 8
NOT_RUN = ("skipped", "cancelled", None)
STYLES = {
    "passed": "green",
    "failed": "red",
    "error": "red",
    "flaky": "yellow",
    "cancelled": "yellow",
    "skipped": "yellow",
    "interrupted": "yellow",
}

Line = tuple[str, str]  # text and style


def summary(result: RunResult, *, folder: str = "", color: bool = False) -> str:
    """The text that every way of looking at a run ends with.

    folder: the run's folder as the user should see it, the logs' paths begin with it. color: escape sequences
    may be used (NO_COLOR still forbids them).
    """
    cells = result.cells.values()
    lines = _gathered([_not_run(cell) for cell in cells if cell.status in NOT_RUN and not all_skipped(cell)])
    for cell in cells:
        lines += _gathered([list(_cell(cell, folder))])
    if color and (found := matrix(result)):
        lines += [*((line, "") for line in table(found)), ("", "")]  # where a terminal shows it, not in plain lines
    lines += [(_worktree(note), "") for note in result.worktrees if note.action in ("removed", "kept")]
    lines += _totals(result)
    if result.seed is not None and result.again:
        lines.append((f"again in this order: {flat(result.again)}", ""))
    if result.coverage is not None:
        lines.append((f"coverage: {result.coverage:.1f} %", ""))
    elif result.coverage_note:
        lines.append((f"no coverage: {flat(result.coverage_note)}", STYLES["error"]))
    if folder:
        lines.append((f"reports: {flat(folder)}", ""))
    lines += closing(result, folder)
    if color:
        return _colored(lines)
    return "".join(f"{text}\n" for text, _ in lines)


def _gathered(blocks: list[list[Line]]) -> list[Line]:
    """Join blocks of lines, with an empty line after the last; limited to the size of a screen."""
    lines = [line for block in blocks[:SHOWN_TESTS] for line in block]
    if len(blocks) > SHOWN_TESTS:
        lines.append((f"… and {number(len(blocks) - SHOWN_TESTS, 'cell')} more that did not run", ""))
    return [*lines, ("", "")] if lines else []


def _not_run(cell: CellResult) -> list[Line]:
    """A cell that did not come to its end, and not through its own fault."""
    head = ": ".join(filter(None, [flat(cell.info.key), cell.status or "unfinished", flat(cell.reason)]))
    return [(head, STYLES["skipped"]), *_hint(cell), *_survivors(cell)]


def _cell(cell: CellResult, folder: str) -> Iterator[Line]:
    """Yield the lines about a cell that ended; none if it simply passed."""
    if cell.status in NOT_RUN and not all_skipped(cell):
        return
    key, survivors = flat(cell.info.key), list(_survivors(cell))
    if cell.status in ("failed", "error"):
        yield from _bad(cell, folder)
    elif all_skipped(cell):
        tests = number(len(cell.last.tests) if cell.last else 0, "test")
        yield (f"{key}: no test ran: {tests}, all skipped", STYLES["skipped"])
    elif cell.status == "flaky":
        yield (f"{key}: flaky, passed on attempt {len(cell.attempts)}", STYLES["flaky"])
        yield from _listed(flaky_tests(cell))
    elif cell.status == "passed" and survivors:
        yield (f"{key}: passed", STYLES["flaky"])
    yield from survivors


def _worktree(note: WorktreeNote) -> str:
    return ": ".join(filter(None, [f"worktree {flat(note.worktree)}", note.action, flat(note.detail)]))


def _survivors(cell: CellResult) -> Iterator[Line]:
    """The processes that an attempt's normal end left running, and what else was left behind."""
    for survivor in cell.last.survivors if cell.last else ():
        yield (f"  left running: {flat(survivor)}", "")
    others = [leak for leak in cell.leaks if leak.kind != "process"]
    for leak in others[:SHOWN_TESTS]:
        yield (f"  left behind: {leak_line(leak)}", "")
    if len(others) > SHOWN_TESTS:
        yield (f"  … and {len(others) - SHOWN_TESTS:,} more", "")


def _bad(cell: CellResult, folder: str) -> Iterator[Line]:
    """A cell that failed or could not run."""
    last, status = cell.last, cell.status or "error"
    bad = failures(last)
    reason = clean(cell.reason or (last.reason if last else "")).strip().splitlines()
    if last and bad and not reason:
        reason = [f"{len(bad):,} of {number(len(last.tests), 'test')}"]
    yield (": ".join([flat(cell.info.key), status, *map(flat, reason[:1])]), STYLES[status])
    yield from ((f"  {flat(line)}", "") for line in _shortened(reason[1:]))
    yield from _listed([_test_line(test.nodeid, test.message) for test in bad])
    if last and (not bad or status == "error"):
        tail = clean(last.tail).rstrip().splitlines()[-SHOWN_TAIL:]
        yield from ((f"  | {flat(line)}", "dim") for line in tail)
    if last and last.log:
        path = f"{folder.rstrip('/')}/{last.log}" if folder else last.log
        yield (f"  log: {flat(path)}", "")


def _shortened(lines: list[str]) -> list[str]:
    """The first lines and the last ones, which tell most of an error."""
    hidden = len(lines) - SHOWN_REASON
    return lines if hidden <= 1 else [*lines[:2], f"… {hidden} lines", *lines[2 - SHOWN_REASON :]]


def _test_line(nodeid: str, message: str) -> str:
    short = one_line(message, 200)
    return f"{nodeid}: {short}" if short else nodeid


def _listed(items: list[str]) -> Iterator[Line]:
    yield from ((f"  {flat(item)}", "") for item in items[:SHOWN_TESTS])
    if len(items) > SHOWN_TESTS:
        yield (f"  … and {len(items) - SHOWN_TESTS:,} more", "")


def _hint(cell: CellResult) -> Iterator[Line]:
    if cell.hint:
        yield (f"  hint: {flat(cell.hint)}", "bold")


def _teardown_not_run(result: RunResult) -> list[str]:
    """Return the teardown scenarios that did not run although what they clean up after was tried."""
    tried = {key for key, cell in result.cells.items() if cell.attempts}
    left = [cell.info for cell in result.cells.values() if cell.status == "cancelled" and not cell.attempts]
    return [
        info.key for info in left if info.scenario and info.scenario.always and tried.intersection(info.scenario.needs)
    ]


def _totals(result: RunResult) -> Iterator[Line]:
    if result.interrupted:
        yield (f"interrupted: {flat(result.interrupted)}", STYLES["interrupted"])
    if left := _teardown_not_run(result):
        yield (f"teardown not run: {some(map(flat, left), whole='report.json')}", STYLES["interrupted"])
        yield (f"  hint: testgrove coordinate --resume {result.run}   continues the run, including teardown", "")
    if not result.cells:
        yield ("nothing ran", STYLES["error"])
        return
    tests = count_tests(result)
    parts = [f"{number(len(result.cells), noun(result))}: {counted(count_cells(result))}"]
    parts.append(f"{number(sum(tests.values()), 'test')}: {counted(tests)}" if any(tests.values()) else "no tests")
    if leaks := sum(len(cell.leaks) for cell in result.cells.values()):
        parts.append(number(leaks, "leak"))
    parts.append(seconds(result.duration))
    nothing = all(map(all_skipped, result.cells.values()))
    if nothing:
        parts.append("every test was skipped")
    style = STYLES["skipped"] if nothing else STYLES[run_status(result)]
    yield (" · ".join(parts), f"bold {style}")


def _colored(lines: list[Line]) -> str:
    from rich.console import Console  # noqa: PLC0415 - only a terminal pays for rich
    from rich.text import Text  # noqa: PLC0415

    out = io.StringIO()
    console = Console(file=out, force_terminal=True, soft_wrap=True, legacy_windows=False)
    for text, style in lines:
        console.print(Text(text, style=style), highlight=False)
    return out.getvalue()
