"""``report.html``: a run as one self-contained page. What tests printed is text in it and never markup."""

from __future__ import annotations

import base64
import hashlib
import io
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from testgrove.core.frozen import frozen
from testgrove.reports import wording
from testgrove.reports.figures import (
    BAD,
    all_skipped,
    attempt_duration,
    cell_duration,
    count_cells,
    count_tests,
    failures,
    flaky_tests,
    outcomes,
    python_of,
    run_status,
)
from testgrove.reports.graph import graph, slot_rows
from testgrove.reports.matrix import matrix
from testgrove.reports.timeline import Timeline, timeline

if TYPE_CHECKING:
    from jinja2 import Environment
    from jinja2.bccache import Bucket

    from testgrove.core.runs.result import AttemptResult, CellResult, ProcessResult, RunResult, TestResult

LONG_TEXT = 20_000  # characters shown of one traceback or one output
LONG_TAIL = 8_000
SHOWN_FAILURES = 200  # failures with their text; the others by name
SHOWN_TESTS = 5_000
SHOWN_SLOWEST = 15
MARKS = {"good": "✓", "bad": "✗", "warn": "!"}


@frozen
class Row:
    """One cell as the page's table shows it."""

    number: int
    cell: CellResult
    word: str
    style: str
    python: str
    counts: dict[str, int]
    total: int
    duration: float
    log: str
    failing: list[TestResult]
    flaky: list[str]
    processes: list[tuple[ProcessResult, str]]


def render(result: RunResult, *, compiled: Path | None = None) -> str:
    """Return the text of ``report.html``. Links to logs are relative to the run's folder, which contains the page.

    compiled: an existing private folder for the compiled template, which takes longer to create than the page.
    """
    environment = _environment(compiled)
    script = environment.loader.get_source(environment, "report.js")[0] if environment.loader else ""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page = io.BytesIO()  # piece by piece: as strings, the pieces take five times the page
    for piece in environment.get_template("report.html.j2").generate(
        script=script, script_hash=digest, **_content(result)
    ):
        page.write(piece.encode("utf-8", "replace"))
    return page.getvalue().decode()


def _environment(compiled: Path | None) -> Environment:
    # Only this report pays for the import.
    from jinja2 import Environment, FileSystemBytecodeCache, FileSystemLoader, StrictUndefined  # noqa: PLC0415

    class Cache(FileSystemBytecodeCache):
        def dump_bytecode(self, bucket: Bucket) -> None:
            with suppress(OSError):  # for example a full disk: the page is still written
                super().dump_bytecode(bucket)

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).with_name("templates")),
        bytecode_cache=Cache(str(compiled)) if compiled else None,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        clean=wording.clean,
        flat=wording.flat,
        one_line=wording.one_line,
        leak_line=wording.leak_line,
        seconds=wording.seconds,
        counted=wording.counted,
        number=wording.number,
        style=_style,
        long=lambda text: wording.bounded(text, LONG_TEXT),
        tail=lambda text: wording.bounded(text[-LONG_TAIL:], LONG_TAIL),
    )
    return environment


def _content(result: RunResult) -> dict[str, Any]:
    """Everything the template shows."""
    rows = [_row(result, number, cell) for number, cell in enumerate(result.cells.values(), 1)]
    tests = count_tests(result)
    every = [(row, test) for row in rows if row.cell.last for test in row.cell.last.tests]
    return {
        "result": result,
        "status": _status(result, rows),
        "rows": rows,
        "cells": count_cells(result),
        "tests": tests,
        "total_tests": sum(tests.values()),
        "started": wording.utc(result.started)[:19].replace("T", " "),
        "timeline": _timeline(result),
        "matrix": matrix(result),
        "graph": graph(result),
        "slot_rows": slot_rows(result) if result.source else [],
        "leaks": [(cell.info.key, leak) for cell in result.cells.values() for leak in cell.leaks],
        "problems": [row for row in rows if row.word in ("failed", "error") or row.failing],
        "failed_in": Counter(nodeid for row in rows for nodeid in {test.nodeid for test in row.failing}),
        "shown_failures": SHOWN_FAILURES,
        "slowest": sorted(every, key=lambda pair: -pair[1].duration)[:SHOWN_SLOWEST],
        "every": sorted(every, key=lambda pair: pair[1].outcome not in BAD)[:SHOWN_TESTS],
        "left_out": max(0, len(every) - SHOWN_TESTS),
        "attempts": [(row, attempt, _attempt(result, attempt)) for row in rows for attempt in row.cell.attempts],
    }


def _status(result: RunResult, rows: list[Row]) -> dict[str, str]:
    """The page's verdict: a word, a style, a mark."""
    word: str = run_status(result)
    if word == "passed" and rows and all(row.word == "all skipped" for row in rows):
        word = "all skipped"
    elif word == "passed" and any(row.word == "flaky" for row in rows):
        word = "passed, flaky"
    return {"word": word, "style": _style(word), "mark": MARKS[_style(word)]}


def _style(word: str) -> str:
    """good, bad or warn, for an outcome or a status."""
    return {"passed": "good", "failed": "bad", "error": "bad"}.get(word, "warn")


def _row(result: RunResult, number: int, cell: CellResult) -> Row:
    counts = outcomes(cell.last)
    word = "all skipped" if all_skipped(cell) else cell.status or "unfinished"
    return Row(
        number=number,
        cell=cell,
        word=word,
        style=_style(word),
        python=python_of(cell),
        counts=counts,
        total=sum(counts.values()),
        duration=cell_duration(cell, result.ended),
        log=link(cell.last.log) if cell.last else "",
        failing=failures(cell.last),
        flaky=flaky_tests(cell),
        processes=[(process, link(process.log)) for process in _last_processes(cell)],
    )


def _last_processes(cell: CellResult) -> list[ProcessResult]:
    """Those of the newest attempt that had some."""
    newest = max((process.attempt for process in cell.processes), default=0)
    return [process for process in cell.processes if process.attempt == newest]


def _timeline(result: RunResult) -> Timeline | None:
    drawn = timeline(result)
    return drawn if any(row.bars for row in drawn.rows) else None


def _attempt(result: RunResult, attempt: AttemptResult) -> dict[str, Any]:
    return {
        "duration": attempt_duration(result, attempt),
        "counts": outcomes(attempt),
        "log": link(attempt.log),
    }


def link(path: str) -> str:
    """A relative address for a path; empty for none. No path can become another scheme or another server."""
    return "./" + quote(path.encode("utf-8", "replace").lstrip(b"/"), safe="/") if path else ""
