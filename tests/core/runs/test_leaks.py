"""What is a leak: new, and nobody's."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from testgrove.core.runs.events import CellFinished, CellInfo, LeakFound, RunFinished, RunStarted
from testgrove.core.runs.leaks import SHOWN, TrackedResource, leaks
from testgrove.core.runs.result import fold

THINGS = st.lists(
    st.builds(TrackedResource, st.sampled_from(["file", "port"]), st.sampled_from("abcde"), st.sampled_from(["", "x"]))
)


def test_a_leak_is_new_and_nobodys():
    before = [TrackedResource("file", "old"), TrackedResource("port", "80")]
    after = [
        TrackedResource("file", "old", "changed words"),
        TrackedResource("file", "80"),
        TrackedResource("database", "mine"),
        TrackedResource("port", "81"),
    ]
    assert leaks(before, after, owned={"mine"}) == (TrackedResource("file", "80"), TrackedResource("port", "81"))


def test_each_is_told_once_and_not_too_many():
    many = [TrackedResource("file", str(number % 200)) for number in range(400)]
    assert leaks((), [*many, TrackedResource("port", "1")]) == (*many[:SHOWN], TrackedResource("port", "1"))


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(THINGS, THINGS, st.sets(st.sampled_from("abcde")))
def test_nothing_that_was_there_or_is_owned_is_a_leak(before, after, owned):
    found = leaks(before, after, owned)
    assert {(it.kind, it.name) for it in found} == {(it.kind, it.name) for it in after if it.name not in owned} - {
        (it.kind, it.name) for it in before
    }
    assert len(found) == len({(it.kind, it.name) for it in found})


def exit_status(status: str, *, leak: bool, fail: bool) -> int:
    info = CellInfo(key="a", suite="a", ref="", python="", worktree="w", command="c")
    started = RunStarted(t=1, run="r", project="p", header="", jobs=1, cells=(info,), fail_on_leak=fail)
    ended = CellFinished(t=2, cell="a", status=status)
    found = [LeakFound(t=3, cell="a", attempt=1, kind="file", name="x")] if leak else []
    return fold([started, ended, *found, RunFinished(t=4, duration=3)]).exit_status


def test_a_leak_fails_a_run_only_where_that_is_asked_for_and_nothing_else_failed():
    assert exit_status("passed", leak=True, fail=False) == 0
    assert exit_status("passed", leak=False, fail=True) == 0
    assert exit_status("passed", leak=True, fail=True) == 6
    assert exit_status("failed", leak=True, fail=True) == 1
