"""How a run is expected to go: its schedule played through, with recorded seconds in the place of work."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence

from testgrove.core.frozen import frozen
from testgrove.core.scheduling.schedule import Schedule
from testgrove.core.scheduling.tasks import Task, by_key, in_order


@frozen
class Forecast:
    """order: the tasks as they would start. seconds: from the first start to the last end. expected: seconds of each.
    critical: the longest chain of needs. known: how many tasks' seconds are recorded; 0 makes the rest worthless."""

    order: tuple[str, ...]
    seconds: float
    expected: Mapping[str, float]
    critical: tuple[str, ...]
    known: int

    @property
    def critical_seconds(self) -> float:
        """Seconds of the longest chain."""
        return sum(self.expected[key] for key in self.critical)


def forecast(
    tasks: Sequence[Task], slots: int, durations: Mapping[str, float], capacities: Mapping[str, int]
) -> Forecast:
    """Play a run through in which everything passes. capacities: of the resources."""
    schedule = Schedule(tasks, slots, durations, capacities=capacities)
    expected = dict(schedule.expected)
    order: list[str] = []
    ends: list[tuple[float, int, str]] = []
    now, step = 0.0, schedule.start()
    while True:
        for start in step.start:
            heapq.heappush(ends, (now + expected[start.key], len(order), start.key))
            order.append(start.key)
        if not ends:
            break
        now, _, key = heapq.heappop(ends)
        step = schedule.finished(key, "passed")
    known = sum(task.key in durations for task in tasks)
    weights = expected if known else dict.fromkeys(expected, 1.0)
    return Forecast(tuple(order), now, expected, critical_path(tasks, weights), known)


def critical_path(tasks: Sequence[Task], seconds: Mapping[str, float]) -> tuple[str, ...]:
    """The chain of needs that takes the longest, first to last. seconds: of each task, 0 where they are missing."""
    if not tasks:
        return ()
    found = by_key(tasks, {name: 1 << 30 for task in tasks for name in task.resources})
    until: dict[str, float] = {}
    before: dict[str, str | None] = {}
    for key in in_order(found):
        latest = max(found[key].needs, key=lambda need: until[need], default=None)
        before[key] = latest
        until[key] = seconds.get(key, 0.0) + (until[latest] if latest else 0.0)
    chain: list[str] = []
    at: str | None = max(until, key=lambda key: until[key])
    while at:
        chain.append(at)
        at = before[at]
    return tuple(reversed(chain))
