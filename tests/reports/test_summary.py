"""The text at a run's end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reports.events_builder import Log
from testgrove.reports.terminal import summary

if TYPE_CHECKING:
    import pytest


def test_totals_are_the_last_line_and_the_folder_follows() -> None:
    log = Log("unit", "api").whole_cell("unit", "passed", "passed").whole_cell("api", "failed", status="failed")
    lines = summary(log.wait(41).finished(), folder="test-artifacts/1").splitlines()
    assert lines[-2:] == [
        "2 cells: 1 passed, 1 failed · 3 tests: 2 passed, 1 failed · 41.0 s",
        "reports: test-artifacts/1",
    ]


def test_a_failed_cell_lists_its_tests_in_full_with_one_line_of_message_and_its_log() -> None:
    nodeid = "tests/" + "deep/" * 40 + "test_a.py::test_x[a b]"
    log = Log("unit").phase("unit", "running").attempt("unit", 2).test("unit", "tests/test_a.py::ok")
    log.test("unit", nodeid, "failed", message="\nAssertionError: assert 1 == 2\n  more")
    text = summary(log.attempt_ends("unit", "failed").cell_ends("unit", "failed").finished(), folder="out/")
    assert "unit: failed: 1 of 2 tests\n" in text
    assert f"  {nodeid}: AssertionError: assert 1 == 2\n" in text
    assert "  log: out/test-unit-abc/attempt-1.log\n" in text
    assert "test_a.py::ok" not in text


def test_more_than_ten_failing_tests_are_counted() -> None:
    text = summary(Log("unit").whole_cell("unit", *["failed"] * 13, status="failed").finished())
    assert "::test_9:" in text
    assert "::test_10:" not in text
    assert "… and 3 more" in text


def test_an_error_shows_its_reason_hint_and_the_end_of_the_output() -> None:
    log = Log("api").phase("api", "running").attempt("api")
    tail = "\n".join(f"line {n}" for n in range(50))
    log.attempt_ends("api", "error", exit_code=4, tail=tail)
    text = summary(log.cell_ends("api", "error", "pytest ended with 4\nusage error", "try `pytest -h`").finished())
    assert "api: error: pytest ended with 4\n  usage error\n  | line" in text
    assert text.endswith("\napi: usage error\n  hint: try `pytest -h`\n")
    assert "  | line 49\n" in text
    assert "line 29\n" not in text


def test_of_a_long_reason_the_last_lines_are_shown_too() -> None:
    reason = "\n".join(["uv failed:", *(f"note {n}" for n in range(20)), "the only line that matters"])
    lines = summary(Log("api").cell_ends("api", "error", reason).finished()).splitlines()
    assert lines[:4] == ["api: error: uv failed:", "  note 0", "  note 1", "  … 13 lines"]
    assert lines[9] == "  the only line that matters"


def test_a_cell_that_never_started_an_attempt_shows_reason_and_hint() -> None:
    text = summary(Log("api").cell_ends("api", "error", "no Python 3.14", "uv python install 3.14").finished())
    assert text.startswith("api: error: no Python 3.14\n\n")
    assert "1 cell: 1 error · no tests" in text
    assert text.endswith("\napi: no Python 3.14\n  hint: uv python install 3.14\n")


def test_cells_with_the_same_cause_share_its_lines() -> None:
    log = Log("a", "b", "c", "d", "e")
    for key in ("a", "b", "c", "d"):
        log.cell_ends(key, "error", "no Python 3.14", "uv python install 3.14")
    lines = summary(log.whole_cell("e", "failed", status="failed").finished()).splitlines()
    assert lines[-2:] == ["a, b, c and 1 more: no Python 3.14", "  hint: uv python install 3.14"]
    assert lines[-3].startswith("5 cells")


def test_tests_that_failed_are_repeated_at_the_end_only_where_there_is_a_hint() -> None:
    plain = summary(Log("unit").whole_cell("unit", "failed", status="failed").finished())
    assert plain.splitlines()[-1].startswith("1 cell: 1 failed")
    log = Log("unit").attempt("unit").test("unit", "test_a", "failed", message="KeyError: 'KEY'")
    hinted = summary(log.attempt_ends("unit", "failed").cell_ends("unit", "failed", hint="set KEY").finished())
    assert hinted.endswith("\nunit: test_a: KeyError: 'KEY'\n  hint: set KEY\n")


def test_an_error_without_a_hint_or_a_log_ends_with_its_cause() -> None:
    text = summary(Log("api").cell_ends("api", "error", "uv failed:\n  the only line that matters").finished())
    assert text.endswith("\napi: the only line that matters\n")


def test_an_error_without_a_hint_ends_with_its_log() -> None:
    log = Log("api").attempt("api").attempt_ends("api", "error", exit_code=3).cell_ends("api", "error", "it crashed")
    lines = summary(log.finished(), folder="out").splitlines()
    assert lines[-2:] == ["api: it crashed", "  hint: less out/test-unit-abc/attempt-1.log"]
    lines = summary(log.finished(), folder="/my work/").splitlines()
    assert lines[-1] == "  hint: less '/my work/test-unit-abc/attempt-1.log'"


def test_everything_skipped_reads_otherwise_than_everything_passed() -> None:
    skipped = summary(Log("unit").whole_cell("unit", "skipped", "skipped").finished())
    passed = summary(Log("unit").whole_cell("unit", "passed", "passed").finished())
    assert "unit: no test ran: 2 tests, all skipped" in skipped
    assert skipped.splitlines()[-1].endswith("every test was skipped")
    assert "skipped" not in passed


def test_one_skipped_cell_among_passed_ones_is_pointed_out() -> None:
    log = Log("unit", "gpu").whole_cell("unit", "passed").whole_cell("gpu", "skipped")
    text = summary(log.finished())
    assert "gpu: no test ran: 1 test, all skipped" in text
    assert "every test" not in text


def test_a_flaky_cell_names_the_tests_that_changed_their_mind() -> None:
    log = Log("unit").phase("unit", "running")
    log.attempt("unit").test("unit", "t.py::x", "failed").attempt_ends("unit", "failed")
    log.attempt("unit").test("unit", "t.py::x").attempt_ends("unit", "passed").cell_ends("unit", "flaky")
    text = summary(log.finished())
    assert "unit: flaky, passed on attempt 2\n  t.py::x\n" in text
    assert "1 cell: 1 flaky" in text


def test_a_killed_run_says_so_and_what_was_running() -> None:
    log = Log("unit", "api").phase("unit", "running").attempt("unit").test("unit", "t.py::x")
    text = summary(log.killed())
    assert "unit: error: the run ended while this was running" in text
    assert "api: cancelled: the run ended before this started" in text
    assert "interrupted: the run was killed before the end" in text


def test_an_interrupted_run_says_by_what() -> None:
    log = Log("unit").phase("unit", "running").interrupted("Ctrl-C").cell_ends("unit", "cancelled", "Ctrl-C")
    assert "interrupted: Ctrl-C\n1 cell: 1 cancelled" in summary(log.finished())


def test_processes_left_running_are_named_even_where_all_passed() -> None:
    log = Log("unit").phase("unit", "running").attempt("unit").test("unit", "t.py::x")
    log.attempt_ends("unit", "passed", survivors=("4711 node server.js",)).cell_ends("unit", "passed")
    assert "unit: passed\n  left running: 4711 node server.js" in summary(log.finished())


def test_no_cell_at_all_is_no_success() -> None:
    assert summary(Log().finished()) == "nothing ran\n"


def test_escape_sequences_of_tests_never_reach_the_terminal() -> None:
    log = Log("unit").phase("unit", "running").attempt("unit")
    log.test("unit", "t.py::x[\x1b[2J]", "failed", message="\x1b[31mboom\x07")
    text = summary(log.attempt_ends("unit", "failed").cell_ends("unit", "failed", "\x1b]0;x\x07why").finished())
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "boom" in text


def test_color_only_where_it_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    result = Log("unit").whole_cell("unit", "failed", status="failed").finished()
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("COLUMNS", "40")
    assert "\x1b[" not in summary(result)
    assert "\x1b[31m" in summary(result, color=True)
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[31m" not in summary(result, color=True)


def test_color_changes_nothing_but_the_color(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    log = Log("unit").phase("unit", "running").attempt("unit")
    log.test("unit", "tests/" + "x" * 100 + ".py::test[bold]", "failed", message="[red]no markup[/red] " * 8)
    result = log.attempt_ends("unit", "failed").cell_ends("unit", "failed").finished()
    from testgrove.reports.wording import clean

    assert clean(summary(result, color=True)) == summary(result)


def test_cells_that_did_not_run_take_a_line_each_and_no_more_than_ten() -> None:
    log = Log(*[f"suite{n:02}" for n in range(60)]).interrupted("Ctrl-C")
    for n in range(60):
        log.cell_ends(f"suite{n:02}", "cancelled", "Ctrl-C")
    lines = summary(log.finished()).splitlines()
    assert lines[:2] == ["suite00: cancelled: Ctrl-C", "suite01: cancelled: Ctrl-C"]
    assert lines[10:12] == ["… and 50 cells more that did not run", ""]
    assert len(lines) == 14


def test_a_cell_whose_tests_were_all_skipped_is_mentioned_once_whatever_its_status() -> None:
    text = summary(Log("gpu").whole_cell("gpu", "skipped", status="skipped").finished())
    assert text.count("gpu") == 1
    assert "gpu: no test ran" in text
