"""Which task goes first: how much of the run still hangs on it, in expected seconds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from testgrove.core.scheduling.rehearsal import Ranks, Rehearsal
from testgrove.core.scheduling.tasks import Task

UNKNOWN_PERCENTILE = 0.9


def expected_seconds(tasks: Iterable[str], durations: Mapping[str, float]) -> dict[str, float]:
    """Return how long each task takes: as recorded, else the 90th percentile of what is recorded of the others."""
    keys = list(tasks)
    known = sorted(durations[key] for key in keys if key in durations)
    unknown = known[int(UNKNOWN_PERCENTILE * (len(known) - 1))] if known else 0.0
    return {key: durations.get(key, unknown) for key in keys}


def find_ranks(
    tasks: Mapping[str, Task],
    order: Sequence[str],
    expected: Mapping[str, float],
    slots: int,
    capacities: Mapping[str, int],
) -> Ranks:
    """The rank of each task; the lowest goes first. order: the keys, needs first.

    The longest remaining path is as good as any rule where tasks share everything. Where they do not, a worktree that
    only one can use at a time is a queue, and the last in it waits for all of it; then the run is rehearsed.
    """
    paths = _longest_paths(tasks, order, expected)
    by_path = {key: (-seconds,) for key, seconds in paths.items()}
    if not _compete(tasks):
        return by_path
    queues = dict.fromkeys((task.worktree for task in tasks.values()), 0.0)
    for key, task in tasks.items():
        queues[task.worktree] += 0.0 if task.shareable or not task.worktree else expected[key]
    by_queue = {
        key: (-max(paths[key], 0.0 if task.shareable else queues[task.worktree]), -paths[key])
        for key, task in tasks.items()
    }
    return Rehearsal(tasks, expected, slots, capacities).best((by_queue, by_path))


def _compete(tasks: Mapping[str, Task]) -> bool:
    """Return whether tasks are in one another's way for more than a slot."""
    worktrees = Counter(task.worktree for task in tasks.values() if task.worktree and not task.shareable)
    return any(count > 1 for count in worktrees.values()) or any(task.resources for task in tasks.values())


def _longest_paths(tasks: Mapping[str, Task], order: Sequence[str], expected: Mapping[str, float]) -> dict[str, float]:
    after = dict.fromkeys(order, 0.0)
    path: dict[str, float] = {}
    for key in reversed(order):
        path[key] = expected[key] + after[key]
        for need in tasks[key].needs:
            after[need] = max(after[need], path[key])
    return path
