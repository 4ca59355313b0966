"""``report.json``: a run as one document for programs. The same events give the same bytes."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, cast

from testgrove.reports.figures import (
    all_skipped,
    attempt_duration,
    cell_duration,
    count_cells,
    count_tests,
    flaky_tests,
    outcomes,
    run_status,
    span_end,
)
from testgrove.reports.wording import utc

if TYPE_CHECKING:
    from testgrove.core.documents import reports as documents
    from testgrove.core.runs.events import ScenarioInfo
    from testgrove.core.runs.result import (
        AttemptResult,
        CellResult,
        PhaseSpan,
        ProcessResult,
        RunResult,
        TestResult,
        WorktreeNote,
    )

_CELLS = '\n "cells": []'  # as _dump() has it; a line's end in a string is written as \\n


def report(result: RunResult) -> documents.Report:
    """A run as plain values. Durations are seconds, moments ISO 8601 in UTC, cells in the plan's order."""
    return {**_frame(result), "cells": [_cell(result, cell) for cell in result.cells.values()]}


def _frame(result: RunResult) -> documents.Report:
    """The report without its cells, which are most of it."""
    cells, tests = count_cells(result), count_tests(result)
    return {
        "schema_version": 1,
        "run": result.run,
        "project": result.project,
        "header": result.header,
        "seed": result.seed,
        "again": result.again,
        "source": result.source,
        "base": result.base,
        "resumed": result.resumed,
        "merged": list(result.merged),
        "testgrove": result.testgrove,
        "started": utc(result.started) or None,
        "ended": utc(result.ended) or None,
        "duration": _seconds(result.duration),
        "jobs": result.jobs,
        "status": run_status(result),
        "exit_status": result.exit_status,
        "complete": result.complete,
        "interrupted": result.interrupted,
        "coverage": None if result.coverage is None else round(result.coverage, 2),
        "coverage_note": result.coverage_note,
        "summary": {
            "cells": cast("documents.CellCounts", {"total": len(result.cells), **cells}),
            "tests": cast("documents.TestCounts", {"total": sum(tests.values()), **tests}),
        },
        "cells": [],
        "worktrees": [_worktree(note) for note in result.worktrees],
    }


def render(result: RunResult) -> str:
    """``report.json``'s text. Lone surrogates, which UTF-8 cannot hold, become ``?``."""
    before, empty, after = _dump(_frame(result)).partition(_CELLS)
    assert empty, before
    text = io.BytesIO()  # cell by cell: as one tree of values, thousands of them take ten times their text
    text.write(before.encode("utf-8", "replace"))
    for number, cell in enumerate(result.cells.values()):
        lines = _dump(_cell(result, cell)).replace("\n", "\n  ")
        text.write((f"{_CELLS[:-1] if number == 0 else ','}\n  {lines}").encode("utf-8", "replace"))
    end = "\n ]" if result.cells else _CELLS
    text.write(f"{end}{after}\n".encode("utf-8", "replace"))
    return text.getvalue().decode()


def _dump(value: object) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False)


def _cell(result: RunResult, cell: CellResult) -> documents.Cell:
    info = cell.info
    return {
        "key": info.key,
        "suite": info.suite,
        "ref": info.ref,
        "python": info.python,
        "deps": info.deps,
        "versions": info.versions,
        "worktree": info.worktree,
        "command": info.command,
        "scenario": _scenario(info.scenario) if info.scenario else None,
        "status": cell.status,
        "reason": cell.reason,
        "hint": cell.hint,
        "all_skipped": all_skipped(cell),
        "duration": _seconds(cell_duration(cell, result.ended)),
        "tests": cast("documents.Outcomes", outcomes(cell.last)),
        "flaky_tests": flaky_tests(cell),
        "phases": [_phase(result, cell, span) for span in cell.phases],
        "attempts": [_attempt(result, attempt) for attempt in cell.attempts],
        "processes": [_process(process) for process in cell.processes],
        "leaks": [
            {"attempt": leak.attempt, "kind": leak.kind, "name": leak.name, "detail": leak.detail}
            for leak in cell.leaks
        ],
    }


def _phase(result: RunResult, cell: CellResult, span: PhaseSpan) -> documents.PhaseTime:
    """One phase; offset: seconds since the run's start."""
    return {
        "phase": span.phase,
        "offset": _seconds(span.start - result.started),
        "duration": _seconds(span_end(result, cell, span) - span.start),
        "reason": span.reason,
    }


def _attempt(result: RunResult, attempt: AttemptResult) -> documents.Attempt:
    return {
        "number": attempt.number,
        "status": attempt.status,
        "reason": attempt.reason,
        "started": utc(attempt.started) or None,
        "duration": _seconds(attempt_duration(result, attempt)),
        "cpu": _seconds(attempt.cpu),
        "command": attempt.command,
        "python": attempt.python,
        "commit": attempt.commit,
        "exit_code": attempt.exit_code,
        "log": attempt.log,
        "slot": attempt.slot,
        "survivors": list(attempt.survivors),
        "tail": attempt.tail,
        "selected": attempt.selected,
        "deselected": attempt.deselected,
        "tests": [_test(test) for test in attempt.tests],
    }


def _scenario(info: ScenarioInfo) -> documents.Scenario:
    return {
        "description": info.description,
        "tags": list(info.tags),
        "needs": list(info.needs),
        "left_out": list(info.left_out),
        "resources": info.resources,
        "timeout": info.timeout,
        "retries": info.retries,
        "shareable": info.shareable,
        "always": info.always,
        "expected": None if info.expected is None else _seconds(info.expected),
    }


def _worktree(note: WorktreeNote) -> documents.WorktreeChange:
    return {"worktree": note.worktree, "action": note.action, "path": note.path, "detail": note.detail}


def _process(process: ProcessResult) -> documents.Process:
    """An application process. ready: seconds until it was; reason: how it ended, empty where testgrove ended it."""
    return {
        "name": process.name,
        "attempt": process.attempt,
        "started": utc(process.started) or None,
        "ready": None if process.ready is None else _seconds(process.ready),
        "command": process.command,
        "log": process.log,
        "reason": process.reason,
        "tail": process.tail,
    }


def _test(test: TestResult) -> documents.Test:
    """One test. Empty fields but the first three are left out: there can be many thousands of tests."""
    always: documents.Test = {
        "nodeid": test.nodeid,
        "outcome": test.outcome,
        "duration": round(float(test.duration), 6),
    }
    more = {
        "file": test.file,
        "line": test.line,
        "message": test.message,
        "text": test.text,
        "output": test.output,
    }
    return cast("documents.Test", {**always, **{key: value for key, value in more.items() if value}})


def _seconds(value: float) -> float:
    return round(float(value), 3)
