"""A world that a schedule runs in: it decides how attempts end, and watches that every rule is kept.

It keeps books of its own and never looks into the schedule.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

from testgrove.core.scheduling.tasks import Task

PASSED, FAILED = ("passed", "flaky"), ("failed", "error")
OUTCOMES = ("passed", "passed", "passed", "failed", "error", "skipped", "cancelled")


@dataclass(frozen=True)
class Case:
    """A schedule to make. cancel_after: events after which the run is interrupted."""

    tasks: tuple[Task, ...]
    slots: int
    durations: Mapping[str, float]
    capacities: Mapping[str, int]
    max_fail: int | None
    cancel_after: int | None


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Any graph of up to ten tasks, with all that a task can ask for."""
    capacities = {"gpu": draw(st.integers(1, 3)), "port": 1}
    names = [f"t{number}" for number in range(draw(st.integers(1, 10)))]
    tasks = []
    for number, name in enumerate(names):
        resources = draw(st.sampled_from([(), (), ("gpu",), ("gpu", "port"), ("gpu",) * capacities["gpu"]]))
        task = Task(
            name,
            needs=tuple(draw(st.lists(st.sampled_from(names[:number]), max_size=3, unique=True))) if number else (),
            worktree=draw(st.sampled_from(["", "v", "w"])),
            shareable=draw(st.booleans()),
            resources=resources,
            exclusive=draw(st.integers(0, 5)) == 5,
            always=draw(st.integers(0, 4)) == 4,
            retries=draw(st.integers(0, 2)),
            last=draw(st.integers(0, 5)) == 5,
        )
        tasks.append(task)
    return Case(
        tasks=tuple(draw(st.permutations(tasks))),
        slots=draw(st.integers(1, 4)),
        durations={name: float(draw(st.integers(0, 9))) for name in names if draw(st.booleans())},
        capacities=capacities,
        max_fail=draw(st.sampled_from([None, None, 1, 2])),
        cancel_after=draw(st.sampled_from([None, None, None, 0, 2, 5])),
    )


@dataclass
class World:
    """Plays one run. choose: picks one of several, which decides the order of events and how attempts end."""

    case: Case
    schedule: Any
    choose: Callable[[list[Any]], Any]
    running: list[str] = field(default_factory=list)
    resting: set[str] = field(default_factory=set)
    ended: dict[str, Any] = field(default_factory=dict)
    attempts: Counter[str] = field(default_factory=Counter)
    failures: int = 0
    cancelled: bool = False

    def __post_init__(self) -> None:
        self.tasks = {task.key: task for task in self.case.tasks}

    def play(self) -> None:
        """From start to end; raises AssertionError where a rule is broken."""
        self.obey(self.schedule.start())
        events = 0
        while self.running or self.resting:
            if events == self.case.cancel_after:
                self.cancelled = True
                self.obey(self.schedule.cancel())
                assert set(self.ended) | set(self.running) == set(self.tasks), "something waits in a cancelled run"
            if self.running or self.resting:
                self.event()
            events += 1
            assert events < 200, "the run does not end"
        assert set(self.ended) == set(self.tasks), "nothing runs, and not everything has ended"
        assert self.schedule.done
        for task in self.case.tasks:
            assert self.attempts[task.key] or not task.always or self.cancelled, f"teardown {task.key} did not run"

    def event(self) -> None:
        """Something happens: an attempt ends, or a pause."""
        key = self.choose(sorted([*self.running, *self.resting]))
        if key in self.resting:
            self.resting.remove(key)
            self.obey(self.schedule.rested(key))
            return
        status = self.choose(list(OUTCOMES))
        self.running.remove(key)
        again = status in FAILED and self.attempts[key] <= self.tasks[key].retries and self.may_start(key)
        step = self.schedule.finished(key, status)
        if again:
            assert [retry.key for retry in step.retry] == [key], f"{key} has an attempt left, and it is not used"
            assert key not in {end.key for end in step.ended}
        else:
            end = step.ended[0]
            flaky = status == "passed" and self.attempts[key] > 1
            assert (end.key, end.status) == (key, "flaky" if flaky else status)
        self.obey(step, just_ended=key)

    def may_start(self, key: str) -> bool:
        """Whether the run still starts such tasks."""
        stopped = self.case.max_fail is not None and self.failures >= self.case.max_fail
        return not self.cancelled and (not stopped or self.tasks[key].always)

    def obey(self, step: Any, just_ended: str = "") -> None:
        """Do what the schedule says, and look at every word."""
        for end in step.ended:
            self.note(end, just_ended)
        for retry in step.retry:
            assert retry.key == just_ended
            assert retry.after > 0
            assert retry.attempt == self.attempts[retry.key] + 1
            self.resting.add(retry.key)
        for start in step.start:
            self.start(start)
        self.assert_nobody_idles()
        self.assert_reasons()
        assert self.schedule.done == (len(self.ended) == len(self.tasks))

    def note(self, end: Any, just_ended: str) -> None:
        key = end.key
        assert key not in self.ended, f"{key} ended twice"
        assert key not in self.running, f"{key} ended while it runs"
        assert end.status in ("passed", "failed", "error", "skipped", "flaky", "cancelled")
        tried_before = key in self.resting
        self.resting.discard(key)
        self.ended[key] = end
        self.failures += end.status in FAILED
        if key == just_ended:
            return
        assert end.reason
        if tried_before:
            assert end.status in (*FAILED, "cancelled")
            return
        assert end.status in ("skipped", "cancelled"), f"{key} has not run and is {end.status}"
        assert end.status == "cancelled" or not self.tasks[key].always
        if end.ancestor:
            guilty = self.ended[end.ancestor]
            assert end.ancestor in self.ancestors(key), f"{end.ancestor} is no ancestor of {key}"
            assert not guilty.ancestor, f"{end.ancestor} is not the one to blame"
            assert guilty.status not in PASSED
            assert end.ancestor in end.reason or guilty.status == "cancelled"
        else:
            assert end.status == "cancelled"
            assert self.cancelled or not self.may_start(key), f"{key} was cancelled in a run that goes on"

    def start(self, start: Any) -> None:
        key, task = start.key, self.tasks[start.key]
        assert key not in self.ended, f"{key} started after its end"
        assert key not in self.running, f"{key} started twice"
        assert key not in self.resting, f"{key} started in its pause"
        assert self.may_start(key), f"{key} started in a run that has stopped"
        for need in task.needs:
            assert need in self.ended, f"{key} started before the end of {need}"
            assert task.always or self.ended[need].status in PASSED, f"{key} started without {need}"
        self.attempts[key] += 1
        assert start.attempt == self.attempts[key] <= task.retries + 1
        self.running.append(key)
        self.assert_room([self.tasks[other] for other in self.running])

    def assert_room(self, there: list[Task]) -> None:
        """All of these may run at once."""
        assert len(there) <= self.case.slots, "more tasks than slots"
        assert len(there) == 1 or not any(task.exclusive for task in there), "an exclusive task is not alone"
        used = Counter(name for task in there for name in task.resources)
        assert all(count <= self.case.capacities[name] for name, count in used.items()), f"over capacity: {used}"
        for name in {task.worktree for task in there if task.worktree}:
            users = [task for task in there if task.worktree == name]
            assert len(users) == 1 or all(task.shareable for task in users), f"{name} is shared"

    def assert_nobody_idles(self) -> None:
        """What could start has started."""
        for key, task in self.tasks.items():
            if key in self.ended or key in self.running or key in self.resting or not self.may_start(key):
                continue
            if all(need in self.ended for need in task.needs):
                with_it = [*(self.tasks[other] for other in self.running), task]
                try:
                    self.assert_room(with_it)
                except AssertionError:
                    continue
                raise AssertionError(f"{key} could run, and does not")

    def assert_reasons(self) -> None:
        """Everything that has not ended and does not run waits for something, and it is true."""
        waits = self.schedule.waiting()
        assert set(waits) == set(self.tasks) - set(self.ended) - set(self.running)
        for key, wait in waits.items():
            unended = any(need not in self.ended for need in self.tasks[key].needs)
            expected = {"backoff"} if key in self.resting else {"dependency"} if unended else set()
            assert wait.kind in (expected or {"worktree", "resource", "slot", "exclusive"}), (key, wait)
            assert wait.text

    def ancestors(self, key: str) -> set[str]:
        found: set[str] = set()
        left = [*self.tasks[key].needs]
        while left:
            one = left.pop()
            found.add(one)
            left += self.tasks[one].needs
        return found
