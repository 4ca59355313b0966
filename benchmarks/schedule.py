"""How close the schedule comes to the best that any could do, in simulated time: `python -m benchmarks.schedule`.

Graphs of 200 scenarios for 8 slots, 60 seeds. The bound is what no schedule can beat: the longest path, all work
shared out evenly, or the fullest worktree that is used by one at a time. No clock is read; the figures are the same
everywhere.
"""

from __future__ import annotations

import argparse
import heapq
import random
import statistics
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from testgrove.core.scheduling.schedule import Schedule
from testgrove.core.scheduling.tasks import Task, by_key, dependents_of, in_order

SCENARIOS, SLOTS, SEEDS = 200, 8, 60


@dataclass(frozen=True)
class Graph:
    """What runs, and how many seconds each task takes. known: the durations that the schedule is told."""

    tasks: Sequence[Task]
    seconds: Mapping[str, float]
    known: Mapping[str, float]


@dataclass(frozen=True)
class Case:
    """A kind of graph. unknown: the share of durations that the schedule is not told. worktrees: exclusive ones, 0
    where all tasks share. median, worst: the limits of makespan ÷ bound."""

    name: str
    unknown: float
    worktrees: int
    median: float
    worst: float = 1.45


CASES = (
    Case("shareable, durations known", 0.0, 0, 1.01),
    Case("shareable, 30 % unknown", 0.3, 0, 1.05),
    Case("16 exclusive worktrees, known", 0.0, 16, 1.20),
    Case("16 exclusive worktrees, 30 % unknown", 0.3, 16, 1.20, 1.45),
)


def layered(random_: random.Random, worktrees: int) -> Graph:
    """Each scenario needs up to three of the forty before it; durations spread as tests' do, around 20 s."""
    tasks, seconds = [], {}
    for number in range(SCENARIOS):
        before = range(max(0, number - 40), number)
        needs = random_.sample(before, min(len(before), random_.choice((0, 0, 1, 1, 2, 3))))
        worktree = f"w{random_.randrange(worktrees)}" if worktrees else f"w{number % 6}"
        tasks.append(
            Task(
                f"s{number}",
                tuple(f"s{need}" for need in needs),
                worktree=worktree,
                shareable=not worktrees,
            )
        )
        seconds[f"s{number}"] = min(300.0, random_.lognormvariate(3.0, 1.0))
    return Graph(tasks, seconds, seconds)


def forgetting(graph: Graph, share: float, random_: random.Random) -> Graph:
    """The same graph; so many of its durations are not known before it runs."""
    forgotten = set(random_.sample(sorted(graph.seconds), round(share * len(graph.seconds))))
    return Graph(graph.tasks, graph.seconds, {k: v for k, v in graph.seconds.items() if k not in forgotten})


def bound(graph: Graph, slots: int) -> float:
    """Seconds that no schedule can beat."""
    tasks = by_key(graph.tasks, {})
    after, longest = defaultdict(float), 0.0
    dependents = dependents_of(tasks)
    for key in reversed(in_order(tasks)):
        after[key] = graph.seconds[key] + max((after[each] for each in dependents[key]), default=0.0)
        longest = max(longest, after[key])
    queues: dict[str, float] = defaultdict(float)
    for task in graph.tasks:
        queues[task.worktree] += 0.0 if task.shareable else graph.seconds[task.key]
    return max(longest, sum(graph.seconds.values()) / slots, *queues.values())


def makespan(graph: Graph, slots: int) -> float:
    """Seconds that a run takes, when starting costs nothing."""
    schedule = Schedule(graph.tasks, slots, graph.known)
    running = [(graph.seconds[start.key], start.key) for start in schedule.start().start]
    heapq.heapify(running)
    now = 0.0
    while running:
        now, key = heapq.heappop(running)
        for start in schedule.finished(key, "passed").start:
            heapq.heappush(running, (now + graph.seconds[start.key], start.key))
    assert schedule.done
    return now


def ratios(case: Case, seeds: int = SEEDS) -> list[float]:
    """Makespan ÷ bound for each seed."""
    found = []
    for seed in range(seeds):
        random_ = random.Random(seed)
        graph = forgetting(layered(random_, case.worktrees), case.unknown, random_)
        found.append(makespan(graph, SLOTS) / bound(graph, SLOTS))
    return found


def main() -> int:
    """Print a table; 1 where a limit is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.schedule", description=__doc__)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    chosen = parser.parse_args()
    missed = 0
    print(f"{SCENARIOS} scenarios, {SLOTS} slots, {chosen.seeds} seeds: makespan ÷ bound")
    for case in CASES:
        found = ratios(case, chosen.seeds)
        median, worst = statistics.median(found), max(found)
        held = median <= case.median and worst <= case.worst
        missed += not held
        limits = f"at most {case.median:.2f} and {case.worst:.2f}: {'held' if held else 'MISSED'}"
        print(f"  {case.name:<40} median {median:.3f}  worst {worst:.3f}   {limits}")
    return min(1, missed)


if __name__ == "__main__":
    sys.exit(main())
