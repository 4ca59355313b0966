"""What all reports share: harmless text, durations, figures that agree with the exit status."""

from __future__ import annotations

import subprocess
import sys

import pytest

from reports.events_builder import Log
from testgrove.reports.figures import Tally, all_skipped, count_tests, flaky_tests, outcomes, run_status
from testgrove.reports.timeline import timeline
from testgrove.reports.wording import bounded, clean, flat, number, one_line, seconds


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07shown", "shown"),
        ("\x1b]8;;http://x\x1b\\link", "link"),
        ("\x1b]0;never ends\nnext line", "\nnext line"),
        ("a\x00b\x08c\x9bd", "a\ufffdb\ufffdc\ufffdd"),
        ("lone \ud800 surrogate", "lone \ufffd surrogate"),
        ("\ufffe\uffff", "\ufffd\ufffd"),
        ("tab\tstays, größe 🎉", "tab\tstays, größe 🎉"),
        ("a\r\nb\rc", "a\nb\nc"),
    ],
)
def test_clean_leaves_only_text(text: str, cleaned: str) -> None:
    assert clean(text) == cleaned


def test_one_line_is_the_first_line_that_says_something_and_bounded() -> None:
    assert one_line("\n\n  first \nsecond", 50) == "first"
    assert one_line("x" * 60, 10) == "x" * 9 + "…"
    assert one_line("", 10) == ""


def test_flat_keeps_a_text_whole_on_one_line_and_in_its_direction() -> None:
    assert flat("a\nb\u2028c\x0bd") == "a b c\ufffdd"
    assert flat("evil\u202egnp.exe") == "evil\ufffdgnp.exe"


def test_bounded_keeps_both_ends_and_says_what_is_missing() -> None:
    text = bounded("begin" + "x" * 100_000 + "end", 1000)
    assert text.startswith("begin")
    assert text.endswith("end")
    assert "99,008 characters left out" in text
    assert len(text) < 1100


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0, "0 s"),
        (0.045, "45 ms"),
        (0.0997, "0.1 s"),
        (3.24, "3.2 s"),
        (59.96, "1 min 00 s"),
        (125, "2 min 05 s"),
        (3599.7, "1 h 00 min"),
        (7320, "2 h 02 min"),
    ],
)
def test_durations_read_well_at_every_size(value: float, words: str) -> None:
    assert seconds(value) == words


def test_numbers_agree_with_their_noun() -> None:
    assert (number(1, "test"), number(0, "test"), number(2000, "test")) == (
        "1 test",
        "0 tests",
        "2,000 tests",
    )


def test_the_run_status_agrees_with_the_exit_status() -> None:
    passed = Log("a").whole_cell("a", "passed").finished()
    failed = Log("a", "b").whole_cell("a", "failed", status="failed").whole_cell("b", "passed").finished()
    error = Log("a", "b").whole_cell("a", "failed", status="failed").cell_ends("b", "error", "no").finished()
    killed = Log("a").phase("a", "running").attempt("a").killed()
    nothing = Log().finished()
    runs = (passed, failed, error, killed, nothing)
    assert [run_status(run) for run in runs] == ["passed", "failed", "error", "interrupted", "error"]
    assert [run.exit_status for run in runs] == [0, 1, 1, 130, 1]


def test_all_skipped_is_not_all_passed() -> None:
    run = Log("a", "b", "c").whole_cell("a", "skipped", "skipped").whole_cell("b", "skipped", "passed")
    result = run.whole_cell("c").finished()
    assert [all_skipped(cell) for cell in result.cells.values()] == [True, False, False]


def test_totals_count_the_attempt_that_decided() -> None:
    log = Log("a").phase("a", "running")
    log.attempt("a").test("a", "t.py::x", "failed").test("a", "t.py::y").attempt_ends("a", "failed")
    log.attempt("a").test("a", "t.py::x").test("a", "t.py::y").attempt_ends("a", "passed").cell_ends("a", "flaky")
    result = log.finished()
    assert sum(count_tests(result).values()) == 2
    assert flaky_tests(result.cells["a"]) == ["t.py::x"]


def test_the_tally_sees_each_test_once_and_starts_again_with_an_attempt() -> None:
    log, tally = Log("a").phase("a", "running").attempt("a").test("a", "t.py::x"), Tally()
    assert tally.of(log.live().cells["a"])["passed"] == 1
    log.test("a", "t.py::y", "failed")
    cell = log.live().cells["a"]
    assert tally.of(cell) == tally.of(cell) == outcomes(cell.last)
    log.attempt_ends("a", "failed").attempt("a").test("a", "t.py::x", "skipped")
    assert tally.of(log.live().cells["a"]) == {**dict.fromkeys(outcomes(None), 0), "skipped": 1}


def test_the_tally_does_not_look_at_a_test_twice_so_that_pictures_stay_cheap() -> None:
    log, tally = Log("a").phase("a", "running").attempt("a").test("a", "t.py::x"), Tally()
    cell = log.live().cells["a"]
    before = tally.of(cell)
    cell.attempts[0].tests[0].outcome = "failed"
    assert tally.of(cell) == before


def test_the_timeline_lays_phases_on_a_common_axis() -> None:
    log = Log("a", "b").phase("a", "waiting", "a slot", took=2).phase("a", "environment", took=3)
    log.phase("b", "running", took=5).cell_ends("a", "passed")
    drawn = timeline(log.killed())
    assert [(bar.phase, bar.left, bar.width) for bar in drawn.rows[0].bars] == [
        ("waiting", 0, 20),
        ("environment", 20, 80),
    ]
    assert [(bar.left, bar.width) for bar in drawn.rows[1].bars] == [(50, 50)]  # cut off: lasts to the log's end
    assert drawn.phases == ["waiting", "environment", "running"]
    assert drawn.ticks[1] == ("2 s", 20)


@pytest.mark.parametrize("cells", [0, 1])
def test_the_timeline_of_a_run_that_took_no_time_can_be_drawn(cells: int) -> None:
    assert len(timeline(Log(*"a"[:cells]).killed()).rows) == cells


@pytest.mark.parametrize("days", [0.0001, 0.5, 40])
def test_the_axis_has_a_handful_of_ticks_whatever_the_run_took(days: float) -> None:
    drawn = timeline(Log("a").phase("a", "running", took=days * 86400).cell_ends("a", "passed").finished())
    assert 2 <= len(drawn.ticks) <= 9


def test_importing_the_reports_loads_neither_rich_nor_jinja2_nor_effects() -> None:
    code = (
        "import sys, pkgutil, importlib, testgrove.reports as r\n"
        "names = [m.name for m in pkgutil.iter_modules(r.__path__)]\n"
        "[importlib.import_module('testgrove.reports.' + n) for n in names]\n"
        "bad = {'rich', 'jinja2', 'subprocess', 'socket', 'sqlite3', 'asyncio', 'multiprocessing'}\n"
        "print(len(names), sorted(bad & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    count, _, loaded = done.stdout.strip().partition(" ")
    assert loaded == "[]", done.stderr
    assert int(count) >= 8
