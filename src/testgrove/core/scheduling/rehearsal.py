"""Finds an order for tasks that compete for resources, by simulating the run before it starts.

A priority rule for single tasks cannot see later conflicts: two queues that share their first tasks, or a worktree that
is idle while its next task waits elsewhere. So the run is simulated with the expected durations, once for each rule;
then backwards from its end, with each task as late as possible; then forwards again in the order of those latest
starts; and so on. The order with the earliest end is used.

(Forward-backward improvement: K. Y. Li and R. J. Willis, "An iterative scheduling technique for resource-constrained
project scheduling", European Journal of Operational Research 56, 1992.)
"""

from __future__ import annotations

import heapq
from bisect import insort
from collections.abc import Mapping, Sequence

from testgrove.core.scheduling.claims import Claims
from testgrove.core.scheduling.tasks import Task

Ranks = Mapping[str, tuple[float, ...]]
_ROUNDS = 3  # backwards and forwards again, for each rule; more gain little
Ranked = tuple[tuple[float, ...], str]  # a rank and its owner


class Rehearsal:
    """Plays runs of the same tasks. expected: seconds that each takes."""

    def __init__(
        self, tasks: Mapping[str, Task], expected: Mapping[str, float], slots: int, capacities: Mapping[str, int]
    ) -> None:
        self._tasks, self._expected = tasks, expected
        self._slots, self._capacities = slots, capacities
        self._needs = {key: tuple(dict.fromkeys(task.needs)) for key, task in tasks.items()}
        self._needed_by: dict[str, list[str]] = {key: [] for key in tasks}
        for key, needs in self._needs.items():
            for need in needs:
                self._needed_by[need].append(key)

    def best(self, rules: Sequence[Ranks]) -> Ranks:
        """The ranks under which the run ends soonest: one of the rules, or what comes of playing them backwards. What
        has the lowest rank goes first."""
        played: list[tuple[float, int, Ranks]] = []
        for rule in rules:
            end, ends = self._play(rule, self._needs, self._needed_by)
            played.append((round(end, 6), len(played), rule))
            for _ in range(_ROUNDS):
                latest = {key: (-seconds,) for key, seconds in ends.items()}
                _, left = self._play(latest, self._needed_by, self._needs)
                mirrored = {key: (-seconds,) for key, seconds in left.items()}
                end, ends = self._play(mirrored, self._needs, self._needed_by)
                played.append((round(end, 6), len(played), mirrored))
        return min(played, key=lambda each: each[:2])[2]  # the simplest of equal ones

    def _play(
        self, ranks: Ranks, before: Mapping[str, Sequence[str]], after: Mapping[str, Sequence[str]]
    ) -> tuple[float, dict[str, float]]:
        """When the run ends, and when each task does."""
        claims = Claims(self._slots, self._capacities)
        left = {key: len(needs) for key, needs in before.items()}
        ready = sorted((ranks[key], key) for key, count in left.items() if not count)
        running: list[tuple[float, str]] = []
        ends: dict[str, float] = {}
        now = 0.0
        while ready or running:
            chosen, ready = self._choose(ready, claims)
            for key in chosen:
                heapq.heappush(running, (now + self._expected[key], key))
            now, key = heapq.heappop(running)
            claims.release(key)
            ends[key] = now
            for follower in after[key]:
                left[follower] -= 1
                if not left[follower]:
                    insort(ready, (ranks[follower], follower))
        return now, ends

    def _choose(self, ready: list[Ranked], claims: Claims) -> tuple[list[str], list[Ranked]]:
        """Return the tasks that start now, and those that keep waiting."""
        taken = {task.worktree for task in claims.running.values() if not task.shareable} - {""}
        chosen: list[str] = []
        waiting: list[Ranked] = []
        for number, entry in enumerate(ready):
            if not claims.free:
                return chosen, waiting + ready[number:]
            task = self._tasks[entry[1]]
            if task.worktree in taken or claims.obstacle(task):  # most wait for a worktree: that is seen at once
                waiting.append(entry)
                continue
            claims.take(task)
            chosen.append(task.key)
            taken |= set() if task.shareable else {task.worktree} - {""}
        return chosen, waiting
