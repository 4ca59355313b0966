"""``integration_report.json``: a run of scenarios as the documents have it, computed from the same events.

Every scenario counts once. ``flaky`` counts as passed and ``cancelled`` as skipped, so the parts sum to the total.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING

from testgrove.reports.figures import cell_duration, failures
from testgrove.reports.wording import bounded

if TYPE_CHECKING:
    from testgrove.core.documents import reports as documents
    from testgrove.core.runs.result import CellResult, RunResult

_PART = {"passed": "passed", "flaky": "passed", "failed": "failed", "error": "errors"}
_LONG = 20_000  # characters of one failure's output


def report(result: RunResult) -> documents.IntegrationReport:
    """The documented report. Durations are seconds; ``timestamp``: the run's end, in local time without a zone."""
    cells = list(result.cells.values())
    parts = {"passed": 0, "failed": 0, "skipped": 0, "errors": 0}
    for cell in cells:
        parts[_part(cell)] += 1
    rate = round(100 * parts["passed"] / len(cells), 2) if cells else 0.0
    return {
        "schema_version": 1,
        "summary": {
            "total": len(cells),
            "passed": parts["passed"],
            "failed": parts["failed"],
            "skipped": parts["skipped"],
            "errors": parts["errors"],
            "duration": round(result.duration, 3),
            "success_rate": rate,
        },
        "by_worktree": _by_worktree(cells),
        "failures": [_failure(cell, result) for cell in cells if _part(cell) in ("failed", "errors")],
        "resource_leaks": _leaks(cells),
        "timestamp": datetime.fromtimestamp(result.ended).isoformat(timespec="seconds"),  # noqa: DTZ006 - as documented
    }


def render(result: RunResult) -> str:
    """The report's text."""
    text = json.dumps(report(result), indent=2, ensure_ascii=False)
    return text.encode("utf-8", "replace").decode() + "\n"


def _part(cell: CellResult) -> str:
    return _PART.get(cell.status or "", "skipped")


def _worktree(cell: CellResult) -> str:
    return cell.info.scenario.worktree if cell.info.scenario else cell.info.worktree


def _by_worktree(cells: list[CellResult]) -> dict[str, documents.WorktreeCounts]:
    """failed: errors, too; what was skipped is in the total alone."""
    found: dict[str, documents.WorktreeCounts] = {}
    for cell in cells:
        counts = found.setdefault(_worktree(cell), {"total": 0, "passed": 0, "failed": 0})
        counts["total"] += 1
        if (part := _part(cell)) != "skipped":
            counts["passed" if part == "passed" else "failed"] += 1
    return found


def _failure(cell: CellResult, result: RunResult) -> documents.Failure:
    last = cell.last
    tests = [f"{test.nodeid}: {test.message}" for test in failures(last)]
    return {
        "name": cell.info.key,
        "description": cell.info.scenario.description if cell.info.scenario else "",
        "worktree": _worktree(cell),
        "command": cell.info.command,
        "status": cell.status,
        "error": cell.reason or (last.reason if last else "") or "; ".join(tests[:3]),
        "tests": tests,
        "duration": round(cell_duration(cell, result.ended), 3),
        "attempts": len(cell.attempts),
        "output": bounded(last.tail, _LONG) if last else "",
        "log": last.log if last else "",
    }


def _leaks(cells: list[CellResult]) -> list[documents.ResourceLeak]:
    return [
        {
            "scenario": cell.info.key,
            "worktree": _worktree(cell),
            "attempt": leak.attempt,
            "type": leak.kind,
            "what": leak.name,
            "detail": leak.detail,
        }
        for cell in cells
        for leak in cell.leaks
    ]
