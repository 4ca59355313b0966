"""Sub-projects: `testgrove test` in one of them runs that one, at the top all of them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from grove import Grove, new_base, plant, said, uproot

SHOWS = """
import os
from pathlib import Path

def test_where():
    Path(os.environ["SHOW"], os.path.basename(os.getcwd())).write_text(os.environ.get("COLOUR", ""))
"""
FILES = {
    ".gitignore": "__pycache__\n.pytest_cache\n",
    "backend/pyproject.toml": '[project]\nname = "backend"\nversion = "1"\n'
    "[tool.pytest.ini_options]\naddopts = '--strict-markers'\n",
    "backend/tests/requirements.txt": "six\n",
    "backend/tests/test_api.py": SHOWS + "\n\ndef test_more(): pass\n",
    "packages/x/setup.py": "from setuptools import setup\nsetup(name='x')\n",
    "packages/x/test_x.py": SHOWS,
    "packages/x/testgrove.toml": "[env]\nCOLOUR = 'red'\n[suites.unit]\ncommand = 'pytest test_x.py'\n"
    "[suites.odd]\ncommand = 'sh -c \"basename $PWD; ls deep.txt\"'\ndirectory = 'deep'\npurpose = 'check'\n",
    "packages/x/deep/deep.txt": "",
    "e2e/test_all.py": SHOWS,
}


@pytest.fixture(scope="module")
def project():
    base = new_base()
    yield plant(base, files=FILES, config="[env]\nCOLOUR = 'blue'\n")
    uproot(base)


def run(project: Grove, tmp_path: Path, *words: str, where: str = "", status: int = 0) -> dict[str, list[str]]:
    """Which tests ran, by cell. With --here: where they run is not what is tested."""
    env = {"VIRTUAL_ENV": sys.prefix, "SHOW": str(tmp_path)}
    done = project.run("test", "--here", "--json", *words, cwd=project.repo / where, env=env, check=False)
    assert done.returncode == status, said(done)
    cells = json.loads(done.stdout)["cells"]
    return {cell["key"]: [test["nodeid"] for test in cell["attempts"][-1]["tests"]] for cell in cells}


def test_at_the_top_all_run_each_in_its_folder_with_its_settings(project, tmp_path):
    assert run(project, tmp_path) == {
        "tests": ["e2e/test_all.py::test_where"],
        "backend": ["tests/test_api.py::test_where", "tests/test_api.py::test_more"],
        "packages/x/unit": ["test_x.py::test_where"],
        "packages/x/odd": [],
    }
    shown = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert shown == {project.repo.name: "blue", "backend": "blue", "x": "red"}


def test_in_a_sub_project_that_one_runs(project, tmp_path):
    assert list(run(project, tmp_path, where="backend/tests")) == ["backend"]
    assert list(run(project, tmp_path, where="packages/x")) == ["packages/x/unit", "packages/x/odd"]


@pytest.mark.slow
def test_suites_and_tests_are_named_from_the_top_and_from_where_one_stands(project, tmp_path):
    one = {"backend": ["tests/test_api.py::test_more"]}
    assert run(project, tmp_path, "backend/tests/test_api.py::test_more") == one
    assert run(project, tmp_path, "test_api.py::test_more", where="backend/tests") == one
    assert list(run(project, tmp_path, "unit", where="packages/x")) == ["packages/x/unit"]
    assert list(run(project, tmp_path, "packages")) == ["packages/x/unit", "packages/x/odd"]


def test_a_suite_is_completed_by_its_name(project):
    env = {"_TESTGROVE_COMPLETE": "bash_complete", "COMP_WORDS": "testgrove test p", "COMP_CWORD": "2"}
    assert project.run(env=env).stdout.split() == ["plain,packages/x/unit", "plain,packages/x/odd"]


def test_a_suite_of_the_top_is_not_replaced_by_the_project_in_a_folder_of_its_name(grove):
    files = {"api/testgrove.toml": "[env]\nA = 'a'\n", "api/test_a.py": "def test_it(): pass\n"}
    project = grove(files=files, config="[suites.api]\ncommand = 'true'\n")
    env = {"_TESTGROVE_COMPLETE": "bash_complete", "COMP_WORDS": "testgrove test a", "COMP_CWORD": "2"}
    assert project.run(env=env).stdout.split() == ["plain,api", "plain,api/tests"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "[suites.unit]\ncommand = 'x'\ndirectory = '../x'\n",
            "'suites.unit.directory': expected a folder in",
        ),
        ("root = '../elsewhere'\n", "'root': concerns the whole repository"),
        ("parc = 2\n", "'parc': unknown key"),
    ],
)
def test_an_error_in_the_settings_of_a_sub_project_names_its_file(grove, text, problem):
    project = grove(files={"api/testgrove.toml": text, "api/test_a.py": "def test_it(): pass\n"})
    done = project.run("test", "--here", check=False)
    assert (done.returncode, problem in done.stderr) == (2, True), said(done)
    assert f"{project.repo}/api/testgrove.toml:" in done.stderr
