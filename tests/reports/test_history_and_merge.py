"""Many runs: what they say about each scenario, and several as one."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest

from testgrove.core.runs import events
from testgrove.core.runs.events import Status
from testgrove.core.runs.history import history
from testgrove.core.runs.merge import merge
from testgrove.core.runs.result import RunResult, fold
from testgrove.reports import coordinator_json, junit, report_json
from testgrove.reports.history import as_lines, document


def info(key: str, *needs: str) -> events.CellInfo:
    scenario = events.ScenarioInfo(worktree="w", needs=needs)
    return events.CellInfo(key=key, suite=key, ref="", python="", worktree="w", command="x", scenario=scenario)


def log(run: str, start: float = 0.0, *, finished: bool = True, **statuses: Status) -> list[events.AnyEvent]:
    """A run of scenarios, one after the other, a second each."""
    cells = tuple(info(key) for key in statuses)
    found: list[events.AnyEvent] = [
        events.RunStarted(t=start, run=run, project="p", header="h", jobs=2, cells=cells, source="s.json")
    ]
    for number, (key, status) in enumerate(statuses.items(), 1):
        t = start + number
        if status != "skipped":
            where = {"command": "x", "worktree": "w", "python": "3.12", "log": f"{key}/output.log"}
            found.append(events.AttemptStarted(t=t, cell=key, attempt=1, **where))
            ended = "passed" if status == "flaky" else status
            found.append(events.AttemptFinished(t=t, cell=key, attempt=1, status=ended, duration=1.0))
        found.append(events.CellFinished(t=t, cell=key, status=status))
    return [*found, events.RunFinished(t=start + 9, duration=9)] if finished else found


def result(run: str, **statuses: Status) -> RunResult:
    return fold(log(run, **statuses))


def test_history_counts_what_ran():
    runs = [
        result("1", a="passed", b="failed", c="skipped"),
        result("2", a="flaky", b="passed"),
        result("3", a="passed", b="error"),
    ]
    a, b = history(runs)
    assert (a.key, a.pass_rate, a.flaky_rate, a.changes, a.median, a.last_run) == ("a", 100.0, 33.33, 0, 1.0, "3")
    assert (b.pass_rate, b.flaky_rate, b.changes, b.statuses) == (33.33, 0.0, 2, ["failed", "passed", "error"])
    lines = as_lines([a, b])
    assert lines[1].split() == ["b", "3", "33.33", "%", "0", "%", "2", "1.0", "s", "1.0", "s", "✗✓!"]
    assert document(b)["durations"] == [1.0, 1.0]


def test_what_a_resumed_run_took_over_counts_once():
    again = log("2", a="passed")
    again[1] = events.AttemptStarted(
        t=1, cell="a", attempt=1, command="x", worktree="w", python="3", log="../1/a/output.log"
    )
    assert [len(each.statuses) for each in history([result("1", a="passed"), fold(again)])] == [1]


def test_merged_runs_have_all_cells_and_equal_keys_stay_apart():
    merged = fold(merge({"../../r1": log("r1", a="passed", b="failed"), "/else/r2": log("r2", 5, a="flaky")}, "m"))
    assert {key: cell.status for key, cell in merged.cells.items()} == {
        "a (r1)": "passed",
        "b": "failed",
        "a (r2)": "flaky",
    }
    assert (merged.complete, merged.merged, merged.jobs, merged.duration) == (True, ("r1", "r2"), 4, 14)
    last = merged.cells["a (r2)"].last
    assert last is not None
    assert last.log == "/else/r2/a/output.log"
    assert coordinator_json.report(merged)["summary"]["total"] == 3
    assert report_json.report(merged)["exit_status"] == 1
    assert history([merged]) == []


def test_a_merged_run_that_was_killed_is_not_green():
    merged = fold(merge({"a": log("r1", a="passed"), "b": log("r2", 5, b="passed", finished=False)}, "m"))
    assert "r2: killed" in merged.interrupted
    with pytest.raises(ValueError, match="beginning of the log is missing"):
        merge({"a": []}, "m")


def test_the_documented_arithmetic_holds_for_every_mixture():
    found = coordinator_json.report(
        result("r", a="passed", b="flaky", c="failed", d="error", e="skipped", f="cancelled")
    )
    summary = found["summary"]
    assert summary == {
        "total": 6, "passed": 2, "failed": 1, "skipped": 2, "errors": 1, "duration": 9.0, "success_rate": 33.33,
    }  # fmt: skip
    assert found["by_worktree"] == {"w": {"total": 6, "passed": 2, "failed": 2}}
    assert [each["name"] for each in found["failures"]] == ["c", "d"]


@pytest.mark.parametrize(("last", "tag"), [("passed", "flakyError"), ("failed", "rerunError")])
def test_an_attempt_that_no_test_tells_of_is_in_the_junit_file(last, tag):
    where = {"command": "x", "worktree": "w", "python": "3.12", "log": "l"}
    document = junit.render(
        fold(
            [
                events.RunStarted(t=0, run="r", project="p", header="h", jobs=1, cells=(info("a"),)),
                events.AttemptStarted(t=1, cell="a", attempt=1, **where),
                events.AttemptFinished(t=2, cell="a", attempt=1, status="error", reason="timed out after 1 s"),
                events.AttemptStarted(t=3, cell="a", attempt=2, **where),
                events.AttemptFinished(t=4, cell="a", attempt=2, status=last),
                events.CellFinished(t=5, cell="a", status="flaky" if last == "passed" else "failed"),
            ]
        )
    )
    case = ET.fromstring(document).find(".//testcase")
    assert case is not None
    note = case.find(tag)
    assert note is not None
    assert note.get("message") == "timed out after 1 s"


def test_what_was_never_tried_is_not_green():
    assert result("r", a="passed", b="skipped").exit_status == 1
    assert report_json.report(result("r", a="passed", b="skipped"))["status"] == "error"
