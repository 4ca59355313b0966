"""``junit.xml``: a run as one JUnit document that separates cells, and tests of the same name in them.

Each cell is a suite, with the tests of the attempt that decided. A cell that does not pass never looks passed: one that
could not run, or failed without a failing test, gets a test case with the reason.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from testgrove.reports.figures import BAD, attempt_duration, cell_duration, failures, python_of
from testgrove.reports.wording import clean, one_line, utc

if TYPE_CHECKING:
    from collections.abc import Iterator

    from testgrove.core.runs.result import CellResult, RunResult, TestResult

COUNTED = {
    "failures": "failure",
    "errors": "error",
    "skipped": "skipped",
}  # attribute → the element it counts


def render(result: RunResult) -> str:
    """``junit.xml``'s text. What XML cannot hold is replaced, escape sequences are left out."""
    suites = [_suite(result, cell) for cell in result.cells.values()]
    root = Element("testsuites", {"name": clean(result.project) or "testgrove"})
    for name in ("tests", *COUNTED):
        root.set(name, str(sum(int(suite.attrib[name]) for suite in suites)))
    root.set("time", f"{result.duration:.3f}")
    root.extend(suites)
    indent(root, " ")
    return f'<?xml version="1.0" encoding="utf-8"?>\n{tostring(root, encoding="unicode")}\n'


def _suite(result: RunResult, cell: CellResult) -> Element:
    """One cell. Its counts are counted from the elements below it, so they add up by construction."""
    last = cell.last
    took = attempt_duration(result, last) if last else cell_duration(cell, result.ended)
    earlier = _earlier(cell)
    cases = [_case(cell, test, earlier.get(test.nodeid, [])) for test in last.tests] if last else []
    cases += _own_case(cell, took)
    suite = Element("testsuite", {"name": clean(cell.info.key), "tests": str(len(cases))})
    for name, tag in COUNTED.items():
        suite.set(name, str(sum(case.find(tag) is not None for case in cases)))
    suite.set("time", f"{took:.3f}")
    suite.set("timestamp", utc(last.started if last else result.started))
    _properties(
        suite,
        {
            "suite": cell.info.suite,
            "ref": cell.info.ref,
            "python": python_of(cell),
            "deps": cell.info.deps,
            **cell.info.versions,
            "worktree": cell.info.worktree,
            "commit": last.commit if last else "",
            "attempt": str(len(cell.attempts)),
            "status": cell.status or "unfinished",
            **({} if result.seed is None else {"random_seed": str(result.seed)}),
            "command": last.command if last else cell.info.command,
        },
    )
    suite.extend(cases)
    return suite


def _case(cell: CellResult, test: TestResult, earlier: list[tuple[int, TestResult]]) -> Element:
    """One test of the attempt that decided, with its failures in earlier attempts."""
    classname, name = _names(cell, test.nodeid)
    case = Element("testcase", {"classname": classname, "name": name, "time": f"{test.duration:.3f}"})
    if test.file:
        case.set("file", clean(test.file))
        if test.line > 0:
            case.set("line", str(test.line))
    if test.outcome == "xpassed":
        _properties(case, {"xpassed": "true"})
    elif test.outcome in BAD:
        _note(case, "failure" if test.outcome == "failed" else "error", test)
    elif test.outcome in ("skipped", "xfailed"):
        kind = "pytest.xfail" if test.outcome == "xfailed" else "pytest.skip"
        message = clean(test.message) or ("expected to fail" if test.outcome == "xfailed" else "skipped")
        SubElement(case, "skipped", {"type": kind, "message": message}).text = clean(test.text) or None
    prefix = "rerun" if test.outcome in BAD else "flaky"
    for number, before in earlier:
        tag = prefix + ("Failure" if before.outcome == "failed" else "Error")
        note = SubElement(case, tag, {"message": one_line(before.message, 500), "type": f"attempt {number}"})
        SubElement(note, "stackTrace").text = clean(before.text or before.message)
        if before.output:
            SubElement(note, "system-out").text = clean(before.output)
    if test.outcome in BAD and test.output:
        SubElement(case, "system-out").text = clean(test.output)
    return case


def _own_case(cell: CellResult, took: float) -> Iterator[Element]:
    """Return a test case for the cell itself, if its tests alone do not show how it ended."""
    status, last = cell.status, cell.last
    tests = last.tests if last else []
    verdict = {"passed": "", "flaky": "", "skipped": "skipped", "failed": "failure"}.get(status or "", "error")
    untold = [attempt for attempt in cell.attempts[:-1] if attempt.status in BAD and not failures(attempt)]
    if tests and verdict in ("", "skipped") and not untold:
        return
    if verdict == "failure" and failures(last):
        return
    case = Element(
        "testcase",
        {
            "classname": clean(cell.info.key),
            "name": clean(cell.info.suite),
            "time": f"{0 if tests else took:.3f}",
        },
    )
    if verdict:
        reason = cell.reason or (last.reason if last else "") or f"the cell's status is {status or 'unknown'}"
        about = {"message": one_line(reason, 500), "type": status or "unfinished"}
        parts = [reason, cell.hint and f"hint: {cell.hint}", last.tail if last else ""]
        SubElement(case, verdict, about).text = clean("\n\n".join(filter(None, parts)))
    for attempt in untold:  # a command's failure or a timeout that is not visible in any test
        tag = ("flaky" if not verdict else "rerun") + ("Failure" if attempt.status == "failed" else "Error")
        about = {"message": one_line(attempt.reason, 500), "type": f"attempt {attempt.number}"}
        note = SubElement(case, tag, about)
        SubElement(note, "stackTrace").text = clean(attempt.tail or attempt.reason)
    yield case


def _note(case: Element, tag: str, test: TestResult) -> None:
    kind = one_line(test.message.partition(":")[0], 100)
    kind = kind if kind.replace(".", "_").isidentifier() else "AssertionError" if tag == "failure" else "Error"
    SubElement(case, tag, {"message": clean(test.message), "type": kind}).text = clean(test.text or test.message)


def _earlier(cell: CellResult) -> dict[str, list[tuple[int, TestResult]]]:
    """The failures of the attempts before the last by test, each with its attempt's number."""
    found: dict[str, list[tuple[int, TestResult]]] = {}
    for attempt in cell.attempts[:-1]:
        for test in failures(attempt):
            found.setdefault(test.nodeid, []).append((attempt.number, test))
    return found


def _names(cell: CellResult, nodeid: str) -> tuple[str, str]:
    """classname and name. Consumers merge on the pair, so the cell is in it: ``unit@main.tests.test_a``."""
    head, bracket, parameters = nodeid.partition("[")
    path, *inner = head.split("::")
    parts = [path.removesuffix(".py").strip("./").replace("/", "."), *inner]
    return clean(".".join([cell.info.key, *parts[:-1]])), clean(parts[-1] + bracket + parameters)


def _properties(parent: Element, values: dict[str, str]) -> None:
    properties = SubElement(parent, "properties")
    for name, value in values.items():
        SubElement(properties, "property", {"name": name, "value": clean(value)})
