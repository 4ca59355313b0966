"""Which task is the most urgent: how much of the run still hangs on it, in expected seconds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from testgrove.core.tasks import Task

UNKNOWN_PERCENTILE = 0.9


class Priorities:
    """A task's urgency is its longest remaining path, or all that is left to do in its worktree, if that is longer.

    A worktree that only one task can use at a time is a queue: what is last in it cannot end before all of it is done.
    """

    def __init__(self, tasks: Mapping[str, Task], order: Sequence[str], durations: Mapping[str, float]) -> None:
        self._tasks = tasks
        self.expected = expected_seconds(tasks, durations)
        self.path = _longest_paths(tasks, order, self.expected)
        self._left = dict.fromkeys((task.worktree for task in tasks.values()), 0.0)
        for key, task in tasks.items():
            self._left[task.worktree] += 0.0 if task.shareable else self.expected[key]

    def ended(self, key: str) -> None:
        """A task will not run any more."""
        task = self._tasks[key]
        self._left[task.worktree] -= 0.0 if task.shareable else self.expected[key]

    def urgency(self, key: str) -> tuple[float, float]:
        """Expected seconds until all is done that hangs on this task's start; then those of its own path, which tell
        the tasks of one worktree apart."""
        task = self._tasks[key]
        queue = self._left[task.worktree] if task.worktree and not task.shareable else 0.0
        return max(self.path[key], queue), self.path[key]


def expected_seconds(tasks: Iterable[str], durations: Mapping[str, float]) -> dict[str, float]:
    """How long each task takes: as recorded, else the 90th percentile of what is recorded of the others."""
    keys = list(tasks)
    known = sorted(durations[key] for key in keys if key in durations)
    unknown = known[int(UNKNOWN_PERCENTILE * (len(known) - 1))] if known else 0.0
    return {key: durations.get(key, unknown) for key in keys}


def _longest_paths(tasks: Mapping[str, Task], order: Sequence[str], expected: Mapping[str, float]) -> dict[str, float]:
    after = dict.fromkeys(order, 0.0)
    path: dict[str, float] = {}
    for key in reversed(order):
        path[key] = expected[key] + after[key]
        for need in tasks[key].needs:
            after[need] = max(after[need], path[key])
    return path
