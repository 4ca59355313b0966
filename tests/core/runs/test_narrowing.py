"""Tests that are named by path: which suites run them, and with which command."""

from __future__ import annotations

import pytest

from testgrove.core.runs.narrowing import looks_like_a_path, narrow
from testgrove.core.settings.types import Suite
from testgrove.errors import UsageError

PATHS = {"tests", "tests/unit", "tests/unit/test_x.py", "tests/api", "tests/api/test_y.py", "shop", "shop/test_z.py"}


def commands(suites: dict[str, str], *tests: str) -> dict[str, str]:
    chosen = narrow({name: Suite(command=command) for name, command in suites.items()}, tests, PATHS)
    return {name: suite.command for name, suite in chosen.items()}


SPLIT = {"unit": "pytest -q tests/unit/", "api": "pytest tests/api | tee log"}


@pytest.mark.parametrize(
    ("suites", "tests", "wanted"),
    [
        ({"tests": "pytest"}, ["tests/unit/test_x.py"], {"tests": "pytest tests/unit/test_x.py"}),
        ({"tests": "pytest"}, ["shop/test_z.py::test_a[1 2]"], {"tests": "pytest 'shop/test_z.py::test_a[1 2]'"}),
        (SPLIT, ["tests/unit/test_x.py::test_a"], {"unit": "pytest -q tests/unit/test_x.py::test_a"}),
        (SPLIT, ["tests/api/test_y.py"], {"api": "pytest tests/api/test_y.py | tee log"}),
        (SPLIT, ["tests/api/test_y.py", "tests/unit/test_x.py"],
         {"api": "pytest tests/api/test_y.py | tee log", "unit": "pytest -q tests/unit/test_x.py"}),
        ({"all": "pytest", "unit": "pytest tests/unit"}, ["tests/unit/test_x.py"],
         {"unit": "pytest tests/unit/test_x.py"}),
        ({"all": "pytest", "unit": "pytest tests/unit"}, ["shop/test_z.py"], {"all": "pytest shop/test_z.py"}),
        ({"both": "pytest tests/unit tests/api -x"}, ["tests/api"], {"both": "pytest tests/api -x"}),
        ({"fast": "pytest -m fast", "slow": "pytest -m slow"}, ["shop/test_z.py"],
         {"fast": "pytest -m fast shop/test_z.py", "slow": "pytest -m slow shop/test_z.py"}),
    ],
)  # fmt: skip
def test_only_the_named_tests_run_in_the_suites_that_hold_them(suites, tests, wanted):
    assert commands(suites, *tests) == wanted


def test_a_test_that_no_suite_runs_is_named_with_what_they_run():
    with pytest.raises(UsageError, match=r"no suite runs 'shop/test_z\.py'") as raised:
        commands(SPLIT, "shop/test_z.py")
    assert raised.value.hint == "suites run: unit: tests/unit/; api: tests/api"
    with pytest.raises(UsageError, match="no suite runs"):
        commands({"js": "npm test"}, "shop/test_z.py")


def test_what_looks_like_a_path():
    assert all(map(looks_like_a_path, ["tests/unit", "test_x.py", "test_x.py::test_a", "./x"]))
    assert not any(map(looks_like_a_path, ["unit", "py-3", "a.b"]))
