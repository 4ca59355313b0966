"""The table of a run whose cells differ in interpreters, sets or engines."""

from __future__ import annotations

from reports.events_builder import Log
from testgrove.reports import html
from testgrove.reports.matrix import matrix, table
from testgrove.reports.summary import summary


def run(*keys: str):
    log = Log(*keys)
    for key in keys[:-1]:
        log.whole_cell(key, "passed", "passed")
    return log.whole_cell(keys[-1], "passed", "failed", status="failed").finished()


def test_suites_go_down_and_interpreters_across():
    result = run("unit@a-py3.9+lowest", "api@a-py3.9+lowest", "unit@a-py3.13+lowest", "unit@a-py3.13+mine")
    assert table(matrix(result)) == [
        "               py3.9     py3.13",
        "unit@a lowest  passed 2  passed 2",
        "api@a lowest   passed 2",
        "unit@a mine              failed 1 of 2",
    ]


def test_with_one_interpreter_the_sets_go_across():
    assert matrix(run("unit+lowest", "unit+highest")).columns == ("lowest", "highest")


def test_a_run_that_varies_in_neither_has_none():
    result = run("unit", "api", "unit@main")
    assert matrix(result) is None
    assert "Matrix" not in html.render(result)


def test_a_terminal_and_the_page_show_it_and_plain_output_does_not():
    result = run("unit@a-py3.9", "unit@a-py3.13")
    assert "failed 1 of 2" in summary(result, color=True)
    assert "failed 1 of 2" not in summary(result)
    page = html.render(result)
    assert '<a href="#cell-2"><span class="badge bad">failed</span></a> 1 of 2' in page


def test_a_cell_without_tests_has_its_word_alone():
    log = Log("unit@a-py3.9", "unit@a-py3.13").whole_cell("unit@a-py3.9", "passed")
    result = log.cell_ends("unit@a-py3.13", "error", "no such interpreter").finished()
    assert table(matrix(result))[1].split() == ["unit@a", "passed", "1", "error"]
