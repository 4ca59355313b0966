"""What running tasks hold: slots, worktrees, resources; and what is in the way of one that waits, in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from testgrove.core.tasks import Task

WaitKind = Literal["dependency", "worktree", "resource", "slot", "exclusive", "backoff"]
_SHOWN = 3


@dataclass(frozen=True)
class Wait:
    """What a task waits for. text: for people, to follow "waits for"."""

    kind: WaitKind
    text: str


class Claims:
    """What the running tasks hold. No resource is ever over its capacity, no worktree has two that do not share it."""

    def __init__(self, slots: int, capacities: Mapping[str, int]) -> None:
        self._slots, self._capacities = slots, capacities
        self.running: dict[str, Task] = {}
        self._used: Counter[str] = Counter()

    def obstacle(self, task: Task) -> Wait | None:
        """The first thing that keeps a task from starting now."""
        return self._alone(task) or self._worktree(task) or self._resource(task) or self._slot()

    def take(self, task: Task) -> None:
        """The task starts."""
        self.running[task.key] = task
        self._used.update(task.resources)

    def release(self, key: str) -> None:
        """The task has stopped running."""
        self._used.subtract(self.running.pop(key).resources)

    def _alone(self, task: Task) -> Wait | None:
        if alone := [key for key, other in self.running.items() if other.exclusive]:
            return Wait("exclusive", f"{alone[0]}, which runs alone")
        if task.exclusive and self.running:
            return Wait("exclusive", f"{some(self.running)}, to run alone")
        return None

    def _worktree(self, task: Task) -> Wait | None:
        if not task.worktree:
            return None
        there = [other for other in self.running.values() if other.worktree == task.worktree]
        if not there or (task.shareable and all(other.shareable for other in there)):
            return None
        return Wait("worktree", f"worktree {task.worktree}, held by {some([other.key for other in there])}")

    def _resource(self, task: Task) -> Wait | None:
        for name, count in Counter(task.resources).items():
            capacity = self._capacities.get(name, 1)
            if self._used[name] + count > capacity:
                holders = some([key for key, other in self.running.items() if name in other.resources])
                return Wait("resource", f"{name} ({self._used[name]} of {capacity} held by {holders})")
        return None

    def _slot(self) -> Wait | None:
        return None if len(self.running) < self._slots else Wait("slot", "a free slot")


def some(keys: Iterable[str]) -> str:
    """The first few names, and how many more there are."""
    names: Sequence[str] = list(keys)
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
