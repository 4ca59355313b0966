"""What `make real-projects` compares, and the page that it writes. The projects themselves are not run here."""

import json
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module", autouse=True)
def tools():
    sys.path.insert(0, str(TOP / "tools"))
    yield
    sys.path.remove(str(TOP / "tools"))


def test_the_list_has_projects_of_the_index_and_of_git_and_those_beside_clones(tmp_path):
    from real_projects.project import listed
    from real_projects.sources import available

    (tmp_path / "shop.toml").write_text('kinds = ["flit"]\ninstall = ["uv sync"]\n')
    projects = {project.name: project for project in listed(tmp_path)}
    assert projects["shop"].test == "pytest"
    assert all(project.sdist or (project.git and project.ref) for name, project in projects.items() if name != "shop")
    assert available(projects["click"], None)
    assert not available(projects["httpx"], tmp_path)
    (tmp_path / "httpx").mkdir()
    assert available(projects["httpx"], tmp_path)
    assert (projects["click"].source, projects["httpx"].source) == ("click==8.1.8", "encode/httpx ae1b9f66238f")


def test_outcomes_of_unittest_are_read_by_name_also_with_a_docstring():
    from real_projects.outcomes import dotted, of_unittest

    output = (
        "test_add (tests.test_cart.Cart.test_add) ... ok\n"
        "test_old (tests.test_cart.Cart)\nWhat the docstring says ... skipped 'not here'\n"
        "test_loud (tests.test_cart.Cart.test_loud) ... debug: on\nok\n"
        "test_bad (tests.test_cart.Cart.test_bad) ... FAIL\n\nRan 4 tests in 0.1s\n"
    )
    expected = {
        "tests.test_cart.Cart.test_add": "passed",
        "tests.test_cart.Cart.test_old": "skipped",
        "tests.test_cart.Cart.test_loud": "passed",
        "tests.test_cart.Cart.test_bad": "failed",
    }
    assert of_unittest(output) == expected
    assert dotted({"tests/test_cart.py::Cart::test_add": "passed"}) == {"tests.test_cart.Cart.test_add": "passed"}


def test_totals_of_unittest_stand_for_tests_without_names():
    from real_projects.outcomes import counts, of_totals

    output = "Ran 40 tests in 37.213s\n\nFAILED (failures=1, errors=21, expected failures=2)\n"
    assert counts(of_totals(output)) == "21 error, 16 passed, 2 xfailed, 1 failed"
    assert of_totals("Ran 2 tests in 0.1s\n\nOK\n") == {"passed 1": "passed", "passed 2": "passed"}
    assert of_totals("Found 0 test(s).\n") == {}


def test_a_difference_names_the_test_and_both_outcomes():
    from real_projects.outcomes import differences

    assert differences({"a": "passed", "b": "passed"}, {"a": "passed", "c": "failed"}) == [
        "b: passed by plain pytest, absent by testgrove",
        "c: absent by plain pytest, failed by testgrove",
    ]


def test_plain_runs_and_later_ones_take_turns_and_a_project_without_tests_ends_at_once():
    from real_projects.commands import Done
    from real_projects.measure import _in_turns

    class Side:
        def __init__(self, name, seconds, failure=""):
            self.name, self.seconds, self.failure = name, seconds, failure

        def run(self):
            ran.append(self.name)
            return Done(0, self.seconds, self.seconds / 2, "")

        def outcomes(self):
            if self.failure:
                raise RuntimeError(self.failure)

    ran = []
    first, times = _in_turns(Side("plain", 2), Side("ours", 3))
    assert ran == ["plain", "ours"] * 4  # one to warm up, three pairs
    assert (first, times["pairs"], times["plain_seconds"], times["second_cpu"]) == (3, 3, 6, 4.5)
    ran.clear()
    with pytest.raises(RuntimeError, match="no test"):
        _in_turns(Side("plain", 2), Side("ours", 3, "no test"))
    assert ran == ["plain", "ours"]


def test_the_page_is_the_one_that_the_results_make(tmp_path):
    from real_projects.__main__ import RESULTS
    from real_projects.page import write

    write(json.loads(RESULTS.read_text()), tmp_path / "page.md")
    assert (tmp_path / "page.md").read_text() == (TOP / "docs/real-projects.md").read_text()
