"""Claims of running tasks: slots, worktrees, resources; and what is in the way of one that waits, in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Literal

from testgrove.core.frozen import frozen
from testgrove.core.scheduling.tasks import Task
from testgrove.core.text import some

WaitKind = Literal["dependency", "worktree", "resource", "slot", "exclusive", "backoff"]
SHOWN = 3


@frozen
class Wait:
    """A reason to wait. text: for people, to follow "waits for"."""

    kind: WaitKind
    text: str


class Claims:
    """The claims of running tasks. No resource is ever over its capacity, no worktree has two that do not share it."""

    def __init__(self, slots: int, capacities: Mapping[str, int]) -> None:
        self._slots, self._capacities = slots, capacities
        self.running: dict[str, Task] = {}
        self._used: Counter[str] = Counter()

    @property
    def free(self) -> bool:
        """Whether there is a free slot."""
        return len(self.running) < self._slots

    def obstacle(self, task: Task) -> WaitKind | None:
        """The first thing that keeps a task from starting now."""
        if self._keeps_others_out(task):
            return "exclusive"
        if task.worktree and any(self._in_the_way(task, other) for other in self.running.values()):
            return "worktree"
        if task.resources and self._exhausted(task):
            return "resource"
        return None if self.free else "slot"

    def wait(self, task: Task) -> Wait:
        """The same in words."""
        match self.obstacle(task):
            case "exclusive":
                alone = [key for key, other in self.running.items() if other.exclusive]
                who = f"{alone[0]}, which runs alone" if alone else f"{some(self.running, SHOWN)}, to run alone"
                return Wait("exclusive", who)
            case "worktree":
                there = [key for key, other in self.running.items() if self._in_the_way(task, other)]
                return Wait("worktree", f"worktree {task.worktree}, held by {some(there, SHOWN)}")
            case "resource":
                name = self._exhausted(task)
                holders = some([key for key, other in self.running.items() if name in other.resources], SHOWN)
                return Wait("resource", f"{name} ({self._used[name]} of {self._capacity(name)} held by {holders})")
        return Wait("slot", "a free slot")

    def take(self, task: Task) -> None:
        """The task starts."""
        self.running[task.key] = task
        self._used.update(task.resources)

    def release(self, key: str) -> None:
        """The task runs no longer."""
        self._used.subtract(self.running.pop(key).resources)

    def _keeps_others_out(self, task: Task) -> bool:
        return bool(self.running) and (task.exclusive or any(other.exclusive for other in self.running.values()))

    @staticmethod
    def _in_the_way(task: Task, other: Task) -> bool:
        return other.worktree == task.worktree and not (task.shareable and other.shareable)

    def _capacity(self, name: str) -> int:
        return self._capacities.get(name, 1)

    def _exhausted(self, task: Task) -> str:
        """The first of its resources of which there is not enough, or nothing."""
        wanted = Counter(task.resources).items()
        return next((name for name, count in wanted if self._used[name] + count > self._capacity(name)), "")
