"""``report.json``."""

from __future__ import annotations

import json

from reports.events_builder import Log
from testgrove.core.runs.events import ProcessFinished, ProcessStarted, decode_log, encode
from testgrove.core.runs.result import fold
from testgrove.reports import report_json


def two_cells() -> Log:
    log = Log("unit", "api").phase("unit", "waiting", "a free slot", took=2).phase("unit", "running")
    log.attempt("unit", 1).test("unit", "t.py::x", "failed", message="no", text="E no", output="out", took=1)
    log.attempt_ends("unit", "failed", exit_code=1, duration=1.5, cpu=1.2)
    log.attempt("unit", 1).test("unit", "t.py::x", took=1).attempt_ends("unit", "passed", exit_code=0)
    return log.cell_ends("unit", "flaky").cell_ends("api", "error", "no Python 3.14", "uv python install 3.14")


def test_the_report_says_what_a_program_needs() -> None:
    report = report_json.report(two_cells().finished())
    assert report["schema_version"] == 1
    assert (report["status"], report["exit_status"]) == ("error", 1)
    assert (report["started"], report["ended"]) == ("2026-01-31T09:40:00.000Z", "2026-01-31T09:40:04.000Z")
    assert report["duration"] == 4
    assert report["summary"]["cells"]["total"] == 2
    assert report["summary"]["cells"]["flaky"] == 1
    assert report["summary"]["tests"]["passed"] == 1
    unit, api = report["cells"]
    assert (unit["key"], unit["status"], unit["duration"], unit["flaky_tests"]) == (
        "unit",
        "flaky",
        2,
        ["t.py::x"],
    )
    assert [(phase["phase"], phase["offset"], phase["duration"]) for phase in unit["phases"]] == [
        ("waiting", 0, 2),
        ("running", 2, 2),
    ]
    assert [attempt["exit_code"] for attempt in unit["attempts"]] == [1, 0]
    assert unit["attempts"][0]["tests"] == [
        {
            "nodeid": "t.py::x",
            "outcome": "failed",
            "duration": 1,
            "file": "t.py",
            "line": 7,
            "message": "no",
            "text": "E no",
            "output": "out",
        }
    ]
    assert (api["reason"], api["hint"], api["attempts"]) == ("no Python 3.14", "uv python install 3.14", [])


def test_parts_sum_to_their_total() -> None:
    outcomes = ("passed", "failed", "error", "skipped", "xfailed", "xpassed", "passed")
    log = Log("a", "b", "c").whole_cell("a", *outcomes, status="failed").whole_cell("b", "skipped")
    report = report_json.report(log.killed())
    for counts in report["summary"].values():
        total = counts.pop("total")
        assert sum(counts.values()) == total
    assert report["status"] == "interrupted"


def test_the_same_log_gives_the_same_bytes_live_and_replayed() -> None:
    log = two_cells()
    replayed = fold(decode_log(b"\n".join(map(encode, log.events))))
    assert report_json.render(log.killed()) == report_json.render(replayed)


def test_a_log_that_was_cut_in_the_middle_of_a_line_still_has_a_report() -> None:
    data = b"\n".join(map(encode, two_cells().events))
    cut = data[: data.index(b'"t.py::x"', data.index(b'"attempt":2'))]
    report = json.loads(report_json.render(fold(decode_log(cut))))
    assert (report["status"], report["exit_status"], report["complete"]) == ("interrupted", 130, False)
    assert [cell["status"] for cell in report["cells"]] == ["error", "cancelled"]
    assert report["cells"][0]["attempts"][1]["status"] is None


def test_an_empty_log_still_has_a_report() -> None:
    report = json.loads(report_json.render(fold([])))
    assert (report["status"], report["started"], report["cells"]) == ("error", None, [])


def test_all_skipped_is_told_from_all_passed() -> None:
    log = Log("a", "b").whole_cell("a", "skipped").whole_cell("b", "passed")
    assert [cell["all_skipped"] for cell in report_json.report(log.finished())["cells"]] == [True, False]


def test_any_text_is_kept_and_can_be_written_as_utf_8() -> None:
    text = "größe 日本 🎉 \x00\x1b[31m \ud800"
    log = Log("a").phase("a", "running").attempt("a").test("a", "t.py::x", "failed", message=text)
    rendered = report_json.render(log.finished()).encode()
    message = json.loads(rendered)["cells"][0]["attempts"][0]["tests"][0]["message"]
    assert message == text.replace("\ud800", "?")


def test_the_processes_of_every_attempt_are_in_the_report() -> None:
    log = Log("api").phase("api", "processes")
    for attempt in (1, 2):
        more = {"cell": "api", "attempt": attempt, "process": "web"}
        log.add(ProcessStarted(t=log.now, command="serve", log=f"w/processes-{attempt}/web.log", **more)).wait(1)
        log.add(ProcessFinished(t=log.now, ready=0.5, reason="" if attempt == 2 else "died", tail="the end", **more))
    log.add(ProcessStarted(t=log.now, cell="api", attempt=3, process="web", command="serve", log="w/3/web.log"))
    first, second, third = report_json.report(log.killed())["cells"][0]["processes"]
    assert (first["name"], first["attempt"], first["ready"], first["reason"]) == ("web", 1, 0.5, "died")
    assert (second["reason"], second["tail"], second["log"]) == ("", "the end", "w/processes-2/web.log")
    assert (third["ready"], third["tail"]) == (None, ""), "the run was killed while it ran"
