"""Outcomes of tests by node id, from plain pytest, from unittest's output and from our reports."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

Outcomes = Mapping[str, str]
RECORDER = Path(__file__).with_name("recorder.py")
# A test's name, perhaps its docstring, perhaps what it printed, and how it ended; all before the next test's name.
_UNITTEST = re.compile(
    r"^(?P<test>\w+) \((?P<where>[\w.]+)\)(?:(?!^\w+ \([\w.]+\)).)*? \.\.\. (?:(?:(?!^\w+ \([\w.]+\)).)*?^)?"
    r"(?P<outcome>ok|skipped|FAIL|ERROR|expected failure)\b",
    re.MULTILINE | re.DOTALL,
)
_WORDS = {"ok": "passed", "skipped": "skipped", "FAIL": "failed", "ERROR": "error", "expected failure": "xfailed"}
_RAN = re.compile(r"^Ran (\d+) tests? in .*\n\n(?:OK|FAILED)(?: \((.*)\))?", re.MULTILINE)
_TOTALS = {"failures": "failed", "errors": "error", "skipped": "skipped", "expected failures": "xfailed"}


def recorded(file: Path) -> Outcomes:
    """What the recorder wrote beside plain pytest; empty where pytest did not get so far."""
    return json.loads(file.read_text()) if file.is_file() else {}


def of_unittest(output: str) -> Outcomes:
    """From `-v` of unittest or `manage.py test -v 2`: dotted names. Without names, a number for each that ran."""
    named = {}
    for found in _UNITTEST.finditer(output):
        where, test = found["where"], found["test"]
        named[where if where.endswith(f".{test}") else f"{where}.{test}"] = _WORDS[found["outcome"]]
    return named


def of_totals(output: str) -> Outcomes:
    """From the last lines of unittest: numbers in place of names."""
    numbers: Counter[str] = Counter()
    for ran, others in _RAN.findall(output):
        found = {_TOTALS.get(what, what): int(number) for what, number in re.findall(r"([a-z][a-z ]*)=(\d+)", others)}
        numbers.update(found, passed=int(ran) - sum(found.values()))
    return {f"{outcome} {each + 1}": outcome for outcome, number in numbers.items() for each in range(number)}


def of_report(report: Mapping[str, object]) -> Outcomes:
    """From report.json: the last attempt of each cell."""
    outcomes: dict[str, str] = {}
    for cell in report["cells"]:  # type: ignore[attr-defined]
        if attempts := cell["attempts"]:
            outcomes |= {test["nodeid"]: test["outcome"] for test in attempts[-1]["tests"]}
    return outcomes


def dotted(outcomes: Outcomes) -> Outcomes:
    """Node ids as unittest writes them: `tests/test_a.py::A::test_b` is `tests.test_a.A.test_b`."""
    return {name.replace(".py::", ".").replace("::", ".").replace("/", "."): value for name, value in outcomes.items()}


def counts(outcomes: Outcomes) -> str:
    """`12 passed, 1 skipped`."""
    return (
        ", ".join(f"{number} {outcome}" for outcome, number in Counter(outcomes.values()).most_common()) or "no tests"
    )


def differences(plain: Outcomes, ours: Outcomes) -> list[str]:
    """One line for each node id whose outcome is not the same."""
    names = sorted(plain.keys() | ours.keys())
    absent = "absent"
    pairs = ((name, plain.get(name, absent), ours.get(name, absent)) for name in names)
    return [f"{name}: {one} by plain pytest, {other} by testgrove" for name, one, other in pairs if one != other]
