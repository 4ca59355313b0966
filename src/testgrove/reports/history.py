"""Statistics of past runs, as text and as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from testgrove.reports.wording import flat, seconds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from testgrove.core.runs.history import HistoryEntry

HEAD = ("name", "runs", "passed", "flaky", "changes", "median", "slowest", "last")
_SHOWN = 10
_LETTERS = {"passed": "✓", "flaky": "~", "failed": "✗", "error": "!"}


def document(entry: HistoryEntry) -> dict[str, Any]:
    """An entry as plain values. Rates are per cent, durations seconds, statuses oldest first."""
    return {
        "key": entry.key,
        "kind": "scenario" if entry.scenario else "cell",
        "runs": len(entry.statuses),
        "pass_rate": entry.pass_rate,
        "flaky_rate": entry.flaky_rate,
        "changes": entry.changes,
        "median": None if entry.median is None else round(entry.median, 3),
        "slowest": None if entry.slowest is None else round(entry.slowest, 3),
        "statuses": entry.statuses,
        "durations": [round(value, 3) for value in entry.seconds],
        "last_run": entry.last_run,
    }


def as_lines(entries: Sequence[HistoryEntry]) -> list[str]:
    """A table, the least reliable first. ``last``: the newest outcomes, oldest first."""
    ordered = sorted(entries, key=lambda entry: (entry.pass_rate - entry.flaky_rate, entry.key))
    rows = [HEAD, *map(_row, ordered)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(f"{text:{width}}" for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _row(entry: HistoryEntry) -> tuple[str, ...]:
    return (
        flat(entry.key),
        str(len(entry.statuses)),
        f"{entry.pass_rate:g} %",
        f"{entry.flaky_rate:g} %",
        str(entry.changes),
        "" if entry.median is None else seconds(entry.median),
        "" if entry.slowest is None else seconds(entry.slowest),
        "".join(_LETTERS.get(status, "?") for status in entry.statuses[-_SHOWN:]),
    )
