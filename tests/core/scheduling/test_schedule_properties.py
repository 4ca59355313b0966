"""Any graph, any order of events, any failures: the rules hold. And the rules find ten and more bugs."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from core.schedule_world import Case, World, cases
from testgrove.core.scheduling import claims, schedule

SCHEDULE, CLAIMS = Path(schedule.__file__), Path(claims.__file__)
# What is changed, from what to what, and what that breaks.
BUGS = {
    "a slot too many": (CLAIMS, "len(self.running) < self._slots", "len(self.running) <= self._slots"),
    "a slot is never freed": (CLAIMS, "self.running.pop(key).resources", "self.running[key].resources"),
    "one unshareable task is enough to share": (
        CLAIMS, "(task.shareable and other.shareable)", "(task.shareable or other.shareable)",
    ),
    "one over the capacity": (CLAIMS, "> self._capacity(name)", "> self._capacity(name) + 1"),
    "resources are kept": (CLAIMS, "self._used.subtract(self.running.pop(key).resources)", "self.running.pop(key)"),
    "an exclusive task joins others": (CLAIMS, "(task.exclusive or any(", "(any("),
    "others join an exclusive task": (CLAIMS, "(task.exclusive or any(", "(task.exclusive and any("),
    "a task starts before its last need": (SCHEDULE, "if not self._needs[key]]", "if len(self._needs[key]) < 2]"),
    "a failed need is as good as a passed one": (SCHEDULE, "if end.status in PASSED:", "if end.status != 'skipped':"),
    "skipping stops at the first": (SCHEDULE, "ends += self._consequences(end)", "[*self._consequences(end)]"),
    "teardown is skipped": (SCHEDULE, "if not self._tasks[dependent].always:", "if True:"),
    "the blame is passed on": (SCHEDULE, "reason, guilty.key)", "reason, end.key)"),
    "a retry too many": (SCHEDULE, "attempt <= self._tasks[key].retries", "attempt <= self._tasks[key].retries + 1"),
    "a retry too few": (SCHEDULE, "attempt <= self._tasks[key].retries", "attempt < self._tasks[key].retries"),
    "flaky is taken for passed": (SCHEDULE, 'and attempt > 1', 'and attempt > 2'),
    "flaky is not enough for dependents": (SCHEDULE, '= ("passed", "flaky")', '= ("passed",)'),
    "a pause has no end": (SCHEDULE, "            self._waiting[key] = None", "            pass"),
    "a failure too many": (SCHEDULE, "len(self._failures) == self", "len(self._failures) - 1 == self"),
    "an interrupted run tries again": (SCHEDULE, "not self._cancelled and", ""),
    "a pause is forgotten by Ctrl-C": (SCHEDULE, "[*self._waiting, *self._resting]", "[*self._waiting]"),
    "a task ends twice": (SCHEDULE, "            if end.key not in self.ended:", "            if True:"),
}  # fmt: skip

# A busy machine is no reason to fail; what fails prints how it is repeated.
RANDOM = settings(deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
NOTHING = '"""Decides what runs next'


def play(case: Case, data: Any, module: ModuleType = schedule) -> None:
    made = module.Schedule(case.tasks, case.slots, case.durations, capacities=case.capacities, max_fail=case.max_fail)
    World(case, made, lambda several: data.draw(st.sampled_from(several))).play()


@settings(RANDOM, max_examples=150)
@given(cases(), st.data())
def test_every_run_keeps_the_rules(case, data):
    play(case, data)


@pytest.mark.slow
@settings(RANDOM, max_examples=2000)
@given(cases(), st.data())
def test_every_one_of_many_runs_keeps_the_rules(case, data):
    play(case, data)


def mutant(path: Path, old: str, new: str) -> ModuleType:
    """The schedule with one bug. Other modules import what they always did."""
    source = path.read_text()
    assert source.count(old) == 1, f"{old!r} stands {source.count(old)} times in {path.name}"
    module = ModuleType(f"mutant_{path.stem}")
    sys.modules[module.__name__] = module  # dataclasses look there
    try:
        exec(compile(source.replace(old, new), str(path), "exec"), module.__dict__)
    finally:
        del sys.modules[module.__name__]
    if path == SCHEDULE:
        return module
    whole = mutant(SCHEDULE, NOTHING, NOTHING)
    whole.Claims = module.Claims
    return whole


COPY = mutant(CLAIMS, "class Claims:", "class Claims:")


@settings(RANDOM, max_examples=50)
@given(cases(), st.data())
def test_a_copy_without_a_bug_keeps_the_rules(case, data):
    play(case, data, COPY)


@pytest.mark.parametrize("bug", BUGS)
def test_the_rules_find_a_bug(bug):
    module = mutant(*BUGS[bug])

    @seed(0)
    @settings(
        max_examples=3000,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(cases(), st.data())
    def property_(case: Case, data: Any) -> None:
        play(case, data, module)

    with pytest.raises(Exception):  # noqa: B017, PT011 - a broken rule, or the schedule breaks over its own bug
        property_()
