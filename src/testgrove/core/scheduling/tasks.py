"""Tasks of a run: what must have happened before each, and what it needs for itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from testgrove.core.frozen import frozen


@frozen
class Task:
    """A unit of work for a slot.

    needs: keys of the tasks that must have passed. worktree: where it runs, alone unless all tasks there are shareable;
    empty for a separate place. resources: names of semaphores; a duplicate name is acquired twice. exclusive: nothing
    else runs at the same time. always: it runs when its needs have ended, with any status (teardown). retries: further
    attempts after a failed one. last: it starts after all other tasks that could start, because it will wait for its
    own turn.
    """

    key: str
    needs: tuple[str, ...] = ()
    worktree: str = ""
    shareable: bool = False
    resources: tuple[str, ...] = ()
    exclusive: bool = False
    always: bool = False
    retries: int = 0
    last: bool = False


def by_key(tasks: Sequence[Task], capacities: Mapping[str, int]) -> dict[str, Task]:
    """The tasks by their keys. Raises ValueError for a key that is there twice and for what can never start."""
    found = {task.key: task for task in tasks}
    if len(found) < len(tasks):
        twice = [key for key, count in Counter(task.key for task in tasks).items() if count > 1]
        raise ValueError(f"twice in one schedule: {', '.join(twice)}")
    for task in tasks:
        if missing := [need for need in task.needs if need not in found]:
            raise ValueError(f"{task.key} needs {missing[0]}, which is not in the schedule")
        for name, count in Counter(task.resources).items():
            if count > capacities.get(name, 1):
                raise ValueError(f"{task.key} needs {count} of {name}, and there are {capacities.get(name, 1)}")
    return found


def in_order(tasks: Mapping[str, Task]) -> list[str]:
    """The keys, needs first. Raises ValueError for a circle."""
    left = {key: len(set(task.needs)) for key, task in tasks.items()}
    dependents = dependents_of(tasks)
    order = [key for key, count in left.items() if not count]
    for key in order:  # it grows during the loop
        for dependent in dependents[key]:
            left[dependent] -= 1
            if not left[dependent]:
                order.append(dependent)
    if len(order) < len(tasks):
        raise ValueError(f"tasks need one another: {', '.join(sorted(set(tasks) - set(order)))}")
    return order


def dependents_of(tasks: Mapping[str, Task]) -> dict[str, list[str]]:
    """Return who needs each task, directly."""
    found: dict[str, list[str]] = {key: [] for key in tasks}
    for key, task in tasks.items():
        for need in dict.fromkeys(task.needs):
            found[need].append(key)
    return found
