"""The graph of a run of scenarios, laid out for drawing: who needs whom, what the longest chain was, who ran where."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import TYPE_CHECKING

from testgrove.core.frozen import frozen
from testgrove.core.scheduling.forecast import critical_path
from testgrove.core.scheduling.tasks import Task
from testgrove.reports.figures import attempt_duration
from testgrove.reports.wording import flat

if TYPE_CHECKING:
    from testgrove.core.runs.result import CellResult, RunResult

MOST = 400  # nodes; a larger picture is unreadable
WIDTH, HEIGHT, GAP_X, GAP_Y, MARGIN = 168, 34, 56, 10, 6
_SHOWN = 22  # characters of a name


@frozen
class Node:
    """One scenario. number: the cell's, from 1. x, y: its upper left corner."""

    number: int
    key: str
    label: str
    word: str
    x: float
    y: float
    critical: bool
    seconds: float


@frozen
class Edge:
    """From a need to what needs it, as the path of an SVG."""

    path: str
    critical: bool


@frozen
class Graph:
    """width and height in pixels. critical: keys; seconds: how long that chain's attempts took."""

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    width: float
    height: float
    critical: tuple[str, ...]
    seconds: float


@frozen
class AttemptBar:
    """One attempt in a slot. left and width: per cent of the run."""

    number: int
    key: str
    word: str
    left: float
    width: float
    start: float
    duration: float


@frozen
class SlotRow:
    """One slot. busy: per cent of the run in which it ran something."""

    slot: int
    bars: tuple[AttemptBar, ...]
    busy: float


def graph(result: RunResult) -> Graph | None:
    """The graph of a run in which something needs something else; None for any other, and for one that is too large."""
    cells = result.cells
    needs = {key: _needs(cell, cells) for key, cell in cells.items()}
    if not any(needs.values()) or len(cells) > MOST:
        return None
    took = {key: sum(attempt_duration(result, attempt) for attempt in cell.attempts) for key, cell in cells.items()}
    critical = critical_path([Task(key, needs=each) for key, each in needs.items()], took)
    positions = _positions(needs)
    nodes = {}
    for number, (key, cell) in enumerate(cells.items(), 1):
        x, y = positions[key]
        name = flat(key)
        label = name if len(name) <= _SHOWN else name[: _SHOWN - 1] + "…"
        nodes[key] = Node(number, key, label, cell.status or "unfinished", x, y, key in critical, took[key])
    chain = set(pairwise(critical))
    edges = [
        Edge(_path(positions[need], positions[key]), (need, key) in chain)
        for key, each in needs.items()
        for need in each
    ]
    width = max(x for x, _ in positions.values()) + WIDTH + MARGIN
    height = max(y for _, y in positions.values()) + HEIGHT + MARGIN
    return Graph(tuple(nodes.values()), tuple(edges), width, height, critical, sum(took[key] for key in critical))


def slot_rows(result: RunResult) -> list[SlotRow]:
    """Return what ran in each slot; empty if the log does not contain it."""
    whole = max(result.duration, 0.001)
    found: dict[int, list[AttemptBar]] = {}
    for number, cell in enumerate(result.cells.values(), 1):
        for attempt in cell.attempts:
            start = attempt.started - result.started
            if attempt.slot and start >= 0:  # else an earlier run's, which this one went on with
                took = attempt_duration(result, attempt)
                width = max(0.1, round(100 * min(took, whole - start) / whole, 3))
                bar = AttemptBar(
                    number,
                    cell.info.key,
                    attempt.status or "unfinished",
                    round(100 * start / whole, 3),
                    width,
                    start,
                    took,
                )
                found.setdefault(attempt.slot, []).append(bar)
    return [
        SlotRow(
            slot, tuple(sorted(bars, key=lambda bar: bar.start)), round(100 * sum(b.duration for b in bars) / whole, 1)
        )
        for slot, bars in sorted(found.items())
    ]


def _needs(cell: CellResult, known: Mapping[str, CellResult]) -> tuple[str, ...]:
    return tuple(need for need in cell.info.scenario.needs if need in known) if cell.info.scenario else ()


def _positions(needs: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[float, float]]:
    """Columns by the longest way from a beginning; in a column, near what is needed."""
    depth: dict[str, int] = {}
    todo = list(needs)
    while todo:  # in merged runs, a need may come after the task that needs it
        left = []
        for key in todo:
            if all(need in depth for need in needs[key]):
                depth[key] = max((depth[need] + 1 for need in needs[key]), default=0)
            else:
                left.append(key)
        todo = left
    columns: dict[int, list[str]] = {}
    for key in needs:
        columns.setdefault(depth[key], []).append(key)
    line: dict[str, int] = {}
    for column in sorted(columns):
        keys = columns[column]
        keys.sort(key=lambda key: sum(line[need] for need in needs[key]) / len(needs[key]) if needs[key] else 0.0)
        line |= {key: position for position, key in enumerate(keys)}
    return {key: (MARGIN + depth[key] * (WIDTH + GAP_X), MARGIN + line[key] * (HEIGHT + GAP_Y)) for key in needs}


def _path(start: tuple[float, float], end: tuple[float, float]) -> str:
    x1, y1, x2, y2 = start[0] + WIDTH, start[1] + HEIGHT / 2, end[0], end[1] + HEIGHT / 2
    middle = (x1 + x2) / 2
    return f"M{x1:g} {y1:g}C{middle:g} {y1:g} {middle:g} {y2:g} {x2:g} {y2:g}"
