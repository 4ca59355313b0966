"""``junit.xml``: what GitLab, Jenkins and GitHub's actions read from it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest

from reports.events_builder import Log
from testgrove.reports import junit

if TYPE_CHECKING:
    from testgrove.core.runs.result import RunResult

ALL = ("passed", "failed", "error", "skipped", "xfailed", "xpassed")


def parsed(result: RunResult) -> ET.Element:
    """The document, checked against the rules that every consumer relies on."""
    root = ET.fromstring(junit.render(result).encode())  # as it is written: bytes
    assert root.tag == "testsuites"
    suites = root.findall("testsuite")
    assert len(suites) == len(root)
    for name in ("tests", "failures", "errors", "skipped"):
        assert int(root.attrib[name]) == sum(int(suite.attrib[name]) for suite in suites)
    for suite in suites:
        cases = suite.findall("testcase")
        assert {child.tag for child in suite} <= {"properties", "testcase"}
        assert "hostname" not in suite.attrib
        assert float(suite.attrib["time"]) >= 0
        assert int(suite.attrib["tests"]) == len(cases)
        for name, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
            assert int(suite.attrib[name]) == len(suite.findall(f"testcase/{tag}"))
        for case in cases:
            assert case.attrib["classname"]
            assert case.attrib["name"]
            assert float(case.attrib["time"]) >= 0
            assert sum(case.find(tag) is not None for tag in ("failure", "error", "skipped")) <= 1
    names = [suite.attrib["name"] for suite in suites]
    assert len(set(names)) == len(names)
    return root


def only_case(result: RunResult) -> ET.Element:
    (case,) = parsed(result).findall("testsuite/testcase")
    return case


def test_every_outcome_has_its_element_and_the_counts_add_up() -> None:
    root = parsed(Log("unit").whole_cell("unit", *ALL, status="failed").finished())
    counts = [root.attrib[name] for name in ("tests", "failures", "errors", "skipped")]
    assert counts == ["6", "1", "1", "2"]
    passed, failed, error, skipped, xfailed, xpassed = root.findall("testsuite/testcase")
    assert len(passed) == 0
    assert failed.find("failure").attrib["message"] == "AssertionError: number 1"
    assert failed.find("failure").attrib["type"] == "AssertionError"
    assert error.find("error") is not None
    assert skipped.find("skipped").attrib["type"] == "pytest.skip"
    assert xfailed.find("skipped").attrib["type"] == "pytest.xfail"
    assert [child.tag for child in xpassed] == ["properties"]


def test_cells_are_told_apart_by_suite_name_and_by_classname() -> None:
    keys = ("unit@main-py3.11", "unit@main-py3.12")
    log = Log(*keys)
    for key in keys:
        log.whole_cell(key, "passed")
    root = parsed(log.finished())
    assert [suite.attrib["name"] for suite in root] == list(keys)
    cases = [(case.attrib["classname"], case.attrib["name"]) for case in root.iter("testcase")]
    assert cases == [(f"{key}.tests.test_a", "test_0") for key in keys]


@pytest.mark.parametrize(
    ("nodeid", "names"),
    [
        ("tests/unit/test_a.py::TestB::test_c[x::y/z]", ("unit.tests.unit.test_a.TestB", "test_c[x::y/z]")),
        ("test_a.py::test_c", ("unit.test_a", "test_c")),
        ("tests/test_a.py", ("unit", "tests.test_a")),
        ("README.md::README.md", ("unit.README.md", "README.md")),
    ],
)
def test_names_are_those_that_pytest_gives_with_the_cell_before_them(nodeid: str, names: tuple[str, str]) -> None:
    log = Log("unit").phase("unit", "running").attempt("unit").test("unit", nodeid)
    case = only_case(log.attempt_ends("unit", "passed").cell_ends("unit", "passed").finished())
    assert (case.attrib["classname"], case.attrib["name"]) == names


def test_a_suite_carries_what_identifies_its_cell() -> None:
    root = parsed(Log("unit@main-py3.12").whole_cell("unit@main-py3.12", "passed").finished())
    found = {item.attrib["name"]: item.attrib["value"] for item in root.findall("testsuite/properties/property")}
    expected = {"suite": "unit", "ref": "main", "python": "3.12", "worktree": "test-unit-abc", "attempt": "1"}
    assert expected.items() <= found.items()
    assert len(found["commit"]) == 40
    assert root[0].attrib["timestamp"] == "2026-01-31T09:40:00.000Z"


def test_a_failure_carries_its_text_its_place_and_its_output() -> None:
    log = Log("unit").phase("unit", "running").attempt("unit")
    log.test("unit", "tests/test_a.py::x", "failed", message="no", text="E   no", output="printed", line=12)
    log.test("unit", "tests/test_a.py::y", "passed", output="printed, too")
    case, good = parsed(log.cell_ends("unit", "failed").finished()).iter("testcase")
    assert (case.attrib["file"], case.attrib["line"]) == ("tests/test_a.py", "12")
    assert case.findtext("failure") == "E   no"
    assert case.findtext("system-out") == "printed"
    assert good.find("system-out") is None


def two_attempts(second: str) -> RunResult:
    log = Log("unit").phase("unit", "running").attempt("unit")
    log.test("unit", "t.py::x", "failed", message="first", text="E first", output="printed")
    log.attempt_ends("unit", "failed").attempt("unit").test("unit", "t.py::x", second, message="second")  # type: ignore[arg-type]
    status = "flaky" if second == "passed" else "failed"
    return log.attempt_ends("unit", status).cell_ends("unit", status).finished()


def test_a_test_that_passed_later_is_a_pass_with_a_flaky_failure() -> None:
    case = only_case(two_attempts("passed"))
    assert [child.tag for child in case] == ["flakyFailure"]
    assert case.find("flakyFailure").attrib["message"] == "first"
    assert case.findtext("flakyFailure/stackTrace") == "E first"
    assert case.findtext("flakyFailure/system-out") == "printed"


def test_a_test_that_failed_again_is_a_failure_with_a_rerun_failure() -> None:
    case = only_case(two_attempts("failed"))
    assert [child.tag for child in case] == ["failure", "rerunFailure"]
    assert case.find("failure").attrib["message"] == "second"


def test_a_cell_that_could_not_run_is_one_error() -> None:
    case = only_case(Log("api").cell_ends("api", "error", "no Python 3.14", "uv python install 3.14").finished())
    assert (case.attrib["classname"], case.attrib["name"]) == ("api", "api")
    assert case.find("error").attrib["message"] == "no Python 3.14"
    assert "hint: uv python install 3.14" in case.findtext("error", "")


def test_an_error_whose_tests_all_passed_is_not_green() -> None:
    log = Log("unit").phase("unit", "running").attempt("unit").test("unit", "t.py::x")
    log.attempt_ends("unit", "error", reason="ran other code")
    root = parsed(log.cell_ends("unit", "error", "ran other code").finished())
    assert (root.attrib["tests"], root.attrib["errors"]) == ("2", "1")


def test_a_command_without_tests_is_one_case_that_ends_as_it_did() -> None:
    def ended(status: str) -> list[str]:
        log = Log("lint").phase("lint", "running").attempt("lint")
        log.attempt_ends("lint", status, tail="E501 line too long")  # type: ignore[arg-type]
        return [child.tag for child in only_case(log.cell_ends("lint", status).finished())]  # type: ignore[arg-type]

    assert [ended(status) for status in ("passed", "failed", "skipped")] == [[], ["failure"], ["skipped"]]


def test_a_killed_run_has_a_case_for_every_cell_and_none_that_did_not_run_is_green() -> None:
    log = Log("a", "b").phase("a", "running").attempt("a").test("a", "t.py::x")
    root = parsed(log.killed())
    assert (root.attrib["tests"], root.attrib["errors"]) == ("3", "2")


def test_all_skipped_is_no_pass() -> None:
    root = parsed(Log("a").whole_cell("a", "skipped", "skipped").finished())
    assert (root.attrib["tests"], root.attrib["skipped"]) == ("2", "2")


def test_what_xml_cannot_hold_is_replaced_and_all_else_survives() -> None:
    hostile = "\x00\x1b[31mred\x1b[0m \ud800 \ufffe ]]> <a> & \" ' größe 🎉"
    log = Log('unit@<&"\x01>').phase('unit@<&"\x01>', "running").attempt('unit@<&"\x01>')
    log.test('unit@<&"\x01>', f"t.py::x[{hostile}\n]", "failed", message=hostile, text=hostile, output=hostile)
    case = only_case(log.cell_ends('unit@<&"\x01>', "failed", hostile).finished())
    expected = "\ufffdred \ufffd \ufffd ]]> <a> & \" ' größe 🎉"
    assert case.findtext("failure") == expected
    assert case.find("failure").attrib["message"] == expected
    assert case.attrib["name"] == f"x[{expected}\n]"


def test_a_huge_output_is_kept_whole() -> None:
    output = "0123456789\n" * 1_000_000
    log = Log("unit").phase("unit", "running").attempt("unit").test("unit", "t.py::x", "failed", output=output)
    assert only_case(log.cell_ends("unit", "failed").finished()).findtext("system-out") == output


def test_two_thousand_tests_with_retries_add_up() -> None:
    log = Log("unit").phase("unit", "running")
    for attempt in range(2):
        log.attempt("unit", 2000)
        for n in range(2000):
            log.test(
                "unit",
                f"tests/test_{n % 40}.py::test_{n}",
                "failed" if n % 10 == 0 and not attempt else "passed",
            )
        log.attempt_ends("unit", "passed" if attempt else "failed")
    root = parsed(log.cell_ends("unit", "flaky").finished())
    assert root.attrib["tests"] == "2000"
    assert Counter(element.tag for element in root.iter())["flakyFailure"] == 200
