"""Decides what runs next: a pure state machine that receives events and returns instructions.

It uses no clock, process or file. Each call reports an event; the answer lists what to start now, what to retry after
how many seconds, and what has ended. Every task ends exactly once.

- A task starts when all its needs have passed; an ``always`` task, when they have ended.
- It needs a free slot, its worktree and its resources; an exclusive task starts only when nothing else runs.
- Among the tasks that can start, the first in rank starts (see priorities.py). An exclusive task waits for the others,
  unless others wait for it.
- If a need did not pass, all tasks that depend on it end at once, with the name of the task that failed.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field

from testgrove.core.frozen import frozen
from testgrove.core.runs.events import Status
from testgrove.core.scheduling.claims import SHOWN, Claims, Wait
from testgrove.core.scheduling.priorities import expected_seconds, find_ranks
from testgrove.core.scheduling.tasks import Task, by_key, dependents_of, in_order
from testgrove.core.text import some

PASSED: tuple[Status, ...] = ("passed", "flaky")
FAILED: tuple[Status, ...] = ("failed", "error")
LONGEST_PAUSE = 60.0  # seconds between two attempts
INTERRUPTED = "the run was interrupted before it started"
_VERBS = {"error": "could not run", "skipped": "was skipped", "cancelled": "was cancelled"}


@frozen
class Start:
    """Start this attempt now. attempt: from 1."""

    key: str
    attempt: int


@frozen
class Retry:
    """Call rested() after so many seconds. attempt: the one that follows. status: how the last one ended."""

    key: str
    attempt: int
    after: float
    status: Status


@frozen
class Ended:
    """A task's end. reason: why it did not run, or not again; else empty. ancestor: the task that is to blame."""

    key: str
    status: Status
    reason: str = ""
    ancestor: str = ""


@frozen
class Instructions:
    """Instructions for now, in this order: note the ends, set the timers, start."""

    ended: list[Ended] = field(default_factory=list)
    retry: list[Retry] = field(default_factory=list)
    start: list[Start] = field(default_factory=list)


class Schedule:
    """The state of a run's tasks.

    slots: how many run at once. durations: recorded seconds, if known. capacities: of resources, 1 by default.
    max_fail: after this number of failures only ``always`` tasks start. backoff: seconds before a second attempt,
    doubled before each further one. ended: tasks that ended before a resumed run; they are not reported again. Raises
    ValueError for tasks that can never all end.

    expected, the attribute: seconds that each task is expected to take.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        slots: int,
        durations: Mapping[str, float],
        *,
        capacities: Mapping[str, int] | None = None,
        max_fail: int | None = None,
        backoff: float = 1.0,
        ended: Mapping[str, Status] | None = None,
    ) -> None:
        if slots < 1 or (max_fail is not None and max_fail < 1):
            raise ValueError(f"{slots} slots, {max_fail} failures: expected numbers from 1")
        self._tasks = by_key(tasks, capacities or {})
        self._dependents = dependents_of(self._tasks)
        self.expected = expected_seconds(self._tasks, durations)
        self._order = self._find_order(slots, capacities or {})
        self._claims = Claims(slots, capacities or {})
        self._max_fail, self._backoff = max_fail, backoff
        self._needs = {key: dict.fromkeys(task.needs) for key, task in self._tasks.items()}  # that have not ended
        self._waiting = dict.fromkeys(self._tasks)
        self._resting: dict[str, Retry] = {}
        self._attempts: Counter[str] = Counter()
        self._failures: list[str] = []
        self._verbs: dict[str, str] = {}
        self._stopped = ""  # the reason why only teardown starts
        self._cancelled = False
        self._before = dict(ended or {})
        self.ended: dict[str, Ended] = {}

    @property
    def done(self) -> bool:
        """Every task has ended."""
        return len(self.ended) == len(self._tasks)

    @property
    def running(self) -> tuple[str, ...]:
        """The tasks that run now, in the order in which they started."""
        return tuple(self._claims.running)

    def waiting(self) -> dict[str, Wait]:
        """Return what each task that has not ended and does not run waits for."""
        pauses = {key: Wait("backoff", f"a pause before attempt {it.attempt}") for key, it in self._resting.items()}
        return {key: self._wait(key) for key in self._waiting} | pauses

    def start(self) -> Instructions:
        """The run begins."""
        step = Instructions()
        for key, status in self._before.items():
            del self._waiting[key]
            self._note(Ended(key, status))
        for key in self._before:
            for end in self._blocked_by(self.ended[key]):
                self._end(step, end)
        return self._choose(step)

    def finished(self, key: str, status: Status, *, again: bool = True, verb: str = "") -> Instructions:
        """An attempt has ended so. again: it may be tried again. verb: what its dependents say of it, by default after
        its status. Raises ValueError for a task that does not run."""
        if key not in self._claims.running:
            raise ValueError(f"{key} does not run")
        self._claims.release(key)
        step, attempt = Instructions(), self._attempts[key]
        if again and status in FAILED and attempt <= self._tasks[key].retries and self._may_start(key):
            pause = min(self._backoff * 2 ** (attempt - 1), LONGEST_PAUSE)
            self._resting[key] = Retry(key, attempt + 1, pause, status)
            step.retry.append(self._resting[key])
        else:
            self._verbs[key] = verb
            self._end(step, Ended(key, "flaky" if status == "passed" and attempt > 1 else status))
        return self._choose(step)

    def rested(self, key: str) -> Instructions:
        """Report that the pause before a further attempt is over. Does nothing if the task has already ended."""
        if self._resting.pop(key, None):
            self._waiting[key] = None
        return self._choose(Instructions())

    def cancel(self, reason: str = INTERRUPTED) -> Instructions:
        """Start nothing more, not even teardown. Running tasks continue until finished() reports their end."""
        step = Instructions()
        self._cancelled = True
        for key in [*self._waiting, *self._resting]:
            self._end(step, Ended(key, "cancelled", reason))
        return step

    def _choose(self, step: Instructions) -> Instructions:
        if not self._claims.free:
            return step
        ready = [key for key in self._waiting if not self._needs[key]]
        for key in sorted(ready, key=self._order.__getitem__):
            if not self._claims.free:
                break
            task = self._tasks[key]
            if self._claims.obstacle(task) is None:
                del self._waiting[key]
                self._claims.take(task)
                self._attempts[key] += 1
                step.start.append(Start(key, self._attempts[key]))
        return step

    def _find_order(self, slots: int, capacities: Mapping[str, int]) -> dict[str, int]:
        """Return the rank of each task among all that could start; equal ones keep the user's order."""
        ranks = find_ranks(self._tasks, in_order(self._tasks), self.expected, slots, capacities)

        def rank(key: str) -> tuple[float, ...]:
            task = self._tasks[key]
            return task.last or (task.exclusive and not self._dependents[key]), *ranks[key]

        return {key: position for position, key in enumerate(sorted(self._tasks, key=rank))}

    def _may_start(self, key: str) -> bool:
        return not self._cancelled and (not self._stopped or self._tasks[key].always)

    def _note(self, end: Ended) -> None:
        self._waiting.pop(end.key, None)
        self._resting.pop(end.key, None)
        self.ended[end.key] = end
        for dependent in self._dependents[end.key]:
            del self._needs[dependent][end.key]

    def _end(self, step: Instructions, end: Ended) -> None:
        """A task's end, and all that follows from it for others."""
        ends = deque([end])
        while ends:
            end = ends.popleft()
            if end.key not in self.ended:
                self._note(end)
                step.ended.append(end)
                ends += self._consequences(end)

    def _consequences(self, end: Ended) -> Iterator[Ended]:
        yield from self._blocked_by(end)
        if end.status in FAILED:
            self._failures.append(end.key)
            if len(self._failures) == self._max_fail:
                yield from self._stop()

    def _blocked_by(self, end: Ended) -> Iterator[Ended]:
        if end.status in PASSED:
            return
        guilty = self.ended[end.ancestor] if end.ancestor else end
        cancelled = guilty.status == "cancelled"
        reason = (cancelled and guilty.reason) or f"{guilty.key} {self._verb(guilty)}"
        for dependent in self._dependents[end.key]:
            if not self._tasks[dependent].always:
                yield Ended(dependent, "cancelled" if cancelled else "skipped", reason, guilty.key)

    def _verb(self, guilty: Ended) -> str:
        return self._verbs.get(guilty.key) or _VERBS.get(guilty.status, guilty.status)

    def _stop(self) -> Iterator[Ended]:
        """Enough has failed: nothing more starts but teardown, once its needs have ended."""
        self._stopped = f"the run stopped after {len(self._failures)} failed: {some(self._failures, SHOWN)}"
        for key in self._waiting:
            if not self._tasks[key].always:
                yield Ended(key, "cancelled", self._stopped)
        for key, rest in self._resting.items():
            if not self._tasks[key].always:
                yield Ended(key, rest.status, f"not retried: {self._stopped}")

    def _wait(self, key: str) -> Wait:
        if needs := self._needs[key]:
            return Wait("dependency", some(needs))
        return self._claims.wait(self._tasks[key])
