"""`testgrove test tests/unit/test_x.py`, `test path::node`, `test -k foo`: what a user of pytest expects."""

from __future__ import annotations

import json
import sys

import pytest

from grove import Grove, new_base, plant, said, uproot

FILES = {
    ".gitignore": "__pycache__\n.pytest_cache\n",
    "pytest.ini": "[pytest]\n",
    "tests/unit/test_a.py": "def test_one(): pass\n\ndef test_two(): pass\n",
    "tests/e2e/test_b.py": "def test_three(): pass\n",
}


@pytest.fixture(scope="module")
def project():
    base = new_base()
    yield plant(base, files=FILES)
    uproot(base)


def run(project: Grove, *words: str, status: int = 0, **options) -> dict[str, list[str]]:
    """Which tests ran, by suite. With --here: where they run is not what is tested."""
    done = project.run("test", "--here", "--json", *words, env={"VIRTUAL_ENV": sys.prefix}, check=False, **options)
    assert done.returncode == status, said(done)
    cells = json.loads(done.stdout)["cells"]
    return {
        cell["suite"]: [test["nodeid"].rpartition("::")[2] for test in cell["attempts"][-1]["tests"]] for cell in cells
    }


def test_only_what_is_named_runs_in_the_suite_that_holds_it(project):
    assert run(project, "tests/unit/test_a.py") == {"unit": ["test_one", "test_two"]}
    assert run(project, "tests/unit/test_a.py::test_two") == {"unit": ["test_two"]}
    assert run(project, "test_b.py", cwd=project.repo / "tests/e2e") == {"e2e": ["test_three"]}


def test_a_keyword_leaves_out_the_suites_without_such_a_test(project):
    assert run(project, "-k", "two") == {"unit": ["test_two"], "e2e": []}
    assert run(project, "-k", "nowhere", status=1) == {"unit": [], "e2e": []}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["tests/unit/test_x.py"], "'tests/unit/test_x.py' not found"),
        (["nothing"], "suite 'nothing' not found"),
        (["-x"], "-- -x"),
    ],
)
def test_what_is_not_there_is_named(project, words, message):
    done = project.run("test", *words, check=False)
    assert done.returncode == 2
    assert message in done.stderr
