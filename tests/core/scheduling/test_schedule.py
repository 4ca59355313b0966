"""The schedule: what starts, what is tried again, what is skipped and why."""

from __future__ import annotations

import pytest

from testgrove.core.scheduling.schedule import Ended, Instructions, Schedule
from testgrove.core.scheduling.tasks import Task


def started(step: Instructions) -> list[str]:
    return [start.key for start in step.start]


def ends(step: Instructions) -> dict[str, str]:
    return {end.key: end.status for end in step.ended}


def plain(*keys: str, **fields: object) -> list[Task]:
    return [Task(key, **fields) for key in keys]


def test_longest_first_and_unknown_ones_early():
    schedule = Schedule(plain("a", "b", "c", "d"), 2, {"a": 1.0, "b": 9.0, "c": 5.0})
    assert started(schedule.start()) == ["b", "c"]
    assert started(schedule.finished("b", "passed")) == ["d"]
    assert started(schedule.finished("c", "passed")) == ["a"]
    assert started(schedule.finished("d", "passed")) == []
    assert not schedule.done
    assert started(schedule.finished("a", "passed")) == []
    assert schedule.done


def test_the_longest_path_goes_before_the_longest_task():
    tasks = [Task("long"), Task("a"), Task("b", needs=("a",)), Task("c", needs=("b",))]
    schedule = Schedule(tasks, 1, {"long": 5.0, "a": 2.0, "b": 2.0, "c": 2.0})
    assert started(schedule.start()) == ["a"]


def test_the_fullest_worktree_goes_before_longer_tasks():
    tasks = [Task("long"), *plain("a", "b", "c", worktree="w")]
    schedule = Schedule(tasks, 1, {"long": 5.0, "a": 2.0, "b": 2.0, "c": 2.0})
    assert started(schedule.start()) == ["a"]
    assert started(schedule.finished("a", "passed")) == ["b"]


def test_a_task_starts_when_all_its_needs_have_passed():
    schedule = Schedule([Task("a"), Task("b"), Task("c", needs=("a", "b"))], 3, {})
    assert started(schedule.start()) == ["a", "b"]
    assert schedule.waiting()["c"].text == "a, b"
    assert started(schedule.finished("a", "passed")) == []
    assert schedule.waiting()["c"].text == "b"
    assert started(schedule.finished("b", "passed")) == ["c"]


@pytest.mark.parametrize(
    ("status", "reason"),
    [("failed", "a failed"), ("error", "a could not run"), ("skipped", "a was skipped")],
)
def test_all_that_hangs_on_a_failure_is_skipped_with_the_name_of_the_failure(status, reason):
    tasks = [Task("a"), Task("b", needs=("a",)), Task("c", needs=("b",)), Task("d")]
    schedule = Schedule(tasks, 1, {})
    schedule.start()
    step = schedule.finished("a", status)
    assert step.ended[1:] == [Ended("b", "skipped", reason, "a"), Ended("c", "skipped", reason, "a")]
    assert started(step) == ["d"]


def test_dependents_say_what_became_of_a_failure_in_its_own_words():
    schedule = Schedule([Task("a", retries=1), Task("b", needs=("a",))], 1, {})
    schedule.start()
    schedule.finished("a", "error", verb="timed out")
    schedule.rested("a")
    assert schedule.finished("a", "error", verb="timed out").ended[1:] == [Ended("b", "skipped", "a timed out", "a")]


def test_teardown_runs_whatever_happened_to_its_needs():
    tasks = [Task("a"), Task("b", needs=("a",)), Task("down", needs=("a", "b"), always=True)]
    schedule = Schedule(tasks, 1, {})
    schedule.start()
    assert started(schedule.finished("a", "failed")) == ["down"]
    schedule.finished("down", "passed")
    assert {key: end.status for key, end in schedule.ended.items()} == {"a": "failed", "b": "skipped", "down": "passed"}


def test_a_worktree_has_one_task_at_a_time():
    schedule = Schedule([*plain("a", "b", worktree="w"), Task("c")], 3, {"a": 3.0, "b": 2.0, "c": 1.0})
    assert started(schedule.start()) == ["a", "c"]
    assert (schedule.waiting()["b"].kind, schedule.waiting()["b"].text) == ("worktree", "worktree w, held by a")
    assert started(schedule.finished("a", "passed")) == ["b"]


def test_a_worktree_is_shared_by_those_who_share():
    tasks = [*plain("a", "b", worktree="w", shareable=True), Task("c", worktree="w")]
    schedule = Schedule(tasks, 3, {"a": 3.0, "b": 2.0, "c": 1.0})
    assert started(schedule.start()) == ["a", "b"]
    assert started(schedule.finished("a", "passed")) == []
    assert started(schedule.finished("b", "passed")) == ["c"]


def test_a_resource_is_never_over_its_capacity():
    tasks = [*plain("a", "b", "c", resources=("gpu",)), Task("d", resources=("gpu", "gpu"))]
    schedule = Schedule(tasks, 4, {"d": 9.0, "a": 3.0, "b": 2.0, "c": 1.0}, capacities={"gpu": 2})
    assert started(schedule.start()) == ["d"]
    assert (schedule.waiting()["a"].kind, schedule.waiting()["a"].text) == ("resource", "gpu (2 of 2 held by d)")
    assert started(schedule.finished("d", "passed")) == ["a", "b"]
    assert started(schedule.finished("b", "passed")) == ["c"]


def test_an_exclusive_task_runs_alone_and_after_the_others():
    tasks = [Task("quiet", exclusive=True), Task("a"), Task("b")]
    schedule = Schedule(tasks, 3, {"quiet": 9.0, "a": 1.0, "b": 2.0})
    assert started(schedule.start()) == ["b", "a"]
    assert schedule.waiting()["quiet"].text == "b, a, to run alone"
    schedule.finished("b", "passed")
    assert started(schedule.finished("a", "passed")) == ["quiet"]


def test_an_exclusive_task_that_others_need_comes_first_where_it_is_urgent():
    tasks = [Task("quiet", exclusive=True), Task("a"), Task("b", needs=("quiet",))]
    schedule = Schedule(tasks, 3, {"quiet": 2.0, "a": 1.0, "b": 1.0})
    assert started(schedule.start()) == ["quiet"]
    assert schedule.waiting()["a"].text == "quiet, which runs alone"
    assert started(schedule.finished("quiet", "passed")) == ["a", "b"]


def test_what_will_wait_for_its_turn_comes_last():
    schedule = Schedule([Task("quiet", last=True), Task("a"), Task("b")], 3, {"quiet": 9.0, "a": 1.0, "b": 2.0})
    assert started(schedule.start()) == ["b", "a", "quiet"]


def test_a_failed_task_is_tried_again_after_a_pause_that_doubles():
    schedule = Schedule([Task("a", retries=2), Task("b", needs=("a",))], 1, {}, backoff=3.0)
    assert schedule.start().start[0].attempt == 1
    step = schedule.finished("a", "failed")
    assert (step.ended, step.start) == ([], [])
    assert [(retry.key, retry.attempt, retry.after) for retry in step.retry] == [("a", 2, 3.0)]
    assert schedule.waiting()["a"].kind == "backoff"
    assert schedule.rested("a").start[0].attempt == 2
    assert schedule.finished("a", "error").retry[0].after == 6.0
    schedule.rested("a")
    step = schedule.finished("a", "passed")
    assert ends(step) == {"a": "flaky"}
    assert started(step) == ["b"], "flaky is passed for those who need it"


def test_a_task_that_never_passes_ends_with_its_last_attempt():
    schedule = Schedule([Task("a", retries=1)], 1, {})
    schedule.start()
    schedule.finished("a", "failed")
    schedule.rested("a")
    assert ends(schedule.finished("a", "error")) == {"a": "error"}


@pytest.mark.parametrize("status", ["passed", "skipped", "cancelled", "flaky"])
def test_only_a_failure_is_tried_again(status):
    schedule = Schedule([Task("a", retries=1)], 1, {})
    schedule.start()
    assert ends(schedule.finished("a", status)) == {"a": status}


def test_a_pause_holds_neither_slot_nor_worktree():
    schedule = Schedule(plain("a", "b", worktree="w", retries=1), 1, {})
    schedule.start()
    assert started(schedule.finished("a", "failed")) == ["b"]
    assert started(schedule.rested("a")) == []
    assert started(schedule.finished("b", "passed")) == ["a"]


def test_after_too_many_failures_only_teardown_starts():
    tasks = [*plain("a", "b", "c", "d", retries=1), Task("down", needs=("c",), always=True)]
    schedule = Schedule(tasks, 2, {}, max_fail=1)
    schedule.start()
    schedule.finished("a", "failed")  # and will be tried again
    schedule.rested("a")
    step = schedule.finished("b", "failed")
    assert started(step) == ["a"]
    step = schedule.finished("a", "failed")
    assert ends(step) == {"a": "failed", "d": "cancelled", "b": "failed"}
    assert {end.key: end.reason for end in step.ended}["b"] == "not retried: the run stopped after 1 failed: a"
    assert ends(schedule.finished("c", "failed")) == {"c": "failed"}
    assert schedule.running == ("down",)


def test_a_cancelled_schedule_starts_nothing_more():
    tasks = [*plain("a", "b", retries=1), Task("down", needs=("a",), always=True)]
    schedule = Schedule(tasks, 1, {})
    schedule.start()
    assert ends(schedule.cancel("Ctrl-C")) == {"b": "cancelled", "down": "cancelled"}
    assert schedule.ended["down"].reason == "Ctrl-C"
    assert ends(schedule.finished("a", "failed")) == {"a": "failed"}
    assert schedule.done


def test_a_resumed_run_goes_on_where_the_other_ended():
    tasks = [Task("a"), Task("b"), Task("c", needs=("a",)), Task("d", needs=("b",))]
    schedule = Schedule(tasks, 1, {}, ended={"a": "passed", "b": "failed"}, max_fail=1)
    step = schedule.start()
    assert ends(step) == {"d": "skipped"}
    assert started(step) == ["c"]


@pytest.mark.parametrize(
    ("tasks", "said"),
    [
        ([Task("a"), Task("a")], "twice"),
        ([Task("a", needs=("x",))], "a needs x"),
        ([Task("a", needs=("b",)), Task("b", needs=("a",))], "a, b"),
        ([Task("a", resources=("gpu", "gpu"))], "a needs 2 of gpu, and there are 1"),
    ],
)
def test_a_schedule_that_could_never_end_is_refused(tasks, said):
    with pytest.raises(ValueError, match=said):
        Schedule(tasks, 1, {})


def test_a_chain_of_thousands_is_no_trouble():
    tasks = [Task("0"), *(Task(str(number), needs=(str(number - 1),)) for number in range(1, 5000))]
    schedule = Schedule(tasks, 1, {})
    schedule.start()
    assert len(schedule.finished("0", "failed").ended) == 5000
    assert schedule.done
