"""Removing a worktree in which its user ran the tests by hand: outputs are kept, files of the user's refuse."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable

import pytest

import local_packages
from grove import TESTGROVE, Grove, said

FILES = {
    "README.md": "A project.\n",
    "requirements.txt": "pytest\npytest-cov\n",
    "src/shop.py": "def price():\n    return 1\n",
    "pytest.ini": "[pytest]\npythonpath = src\n",
    "tests/integration/test_shop.py": "import shop\n\n\ndef test_it():\n    assert shop.price() == 1\n",
}


@pytest.fixture
def project(grove) -> Grove:
    return with_worktree(grove)


@pytest.fixture(scope="module")
def tested(shared_grove) -> Grove:
    """A project in whose worktree the suite was run by hand."""
    project = with_worktree(shared_grove)
    done = typed(project, "pytest -q --junitxml=junit.xml --cov")
    assert done.returncode == 0, done.stderr
    return project


def with_worktree(make: Callable[..., Grove]) -> Grove:
    project = make(files=FILES, config='collect = ["prof"]\n', variables=local_packages.settings("pytest-cov"))
    project.create("test-integration", "mine", "--ports")
    return project


def typed(project: Grove, line: str) -> subprocess.CompletedProcess[str]:
    """Type a line into a shell that stands in the worktree, its environment active."""
    tree = project.root / "test-integration-mine"
    bash = shutil.which("bash") or pytest.skip("bash is not here")
    script = f"set -e; cd {tree}; source .venv/bin/activate; export $(cat .env.test | xargs); {line}"
    return subprocess.run([bash, "-c", script], env=project.env, capture_output=True, text=True, check=False)


def test_outputs_are_kept_and_nothing_is_asked_also_from_inside(project):
    words = "pytest -q tests/integration/ --junitxml=junit.xml --cov=src --cov-report=html --cov-report=xml"
    remove = (
        f"mkdir prof && echo x > prof/a && cd tests && {TESTGROVE[0]} -m testgrove remove --project .. mine </dev/null"
    )
    done = typed(project, f"{words}; {remove}")
    assert done.returncode == 0, done.stderr + done.stdout
    assert "removed test-integration-mine" in done.stderr
    kept = project.artifacts / "test-integration-mine"
    for name in ("junit.xml", ".coverage", "coverage.xml", "htmlcov/index.html", "prof/a"):
        assert (kept / name).is_file(), name
    assert not (project.root / "test-integration-mine").exists()
    project.auditor().assert_nothing()


in_one_worktree = pytest.mark.xdist_group("tested by hand")


@in_one_worktree
@pytest.mark.parametrize(
    "name", ["notes.txt", "tests/integration/test_new.py", ".env.local", "data/dump.sql", "junit.txt"]
)
def test_a_file_that_only_its_user_can_have_made_refuses(tested, name):
    tree = tested.root / "test-integration-mine"
    done = typed(tested, f"mkdir -p $(dirname {name}); echo mine > {name}")
    assert done.returncode == 0, done.stderr
    done = tested.run("remove", "mine", check=False, cwd=tree)
    assert done.returncode == 3, said(done)
    assert f"{name} (not written by set-up or a test)" in done.stderr
    assert "junit.xml" not in done.stderr
    assert (tree / name).read_text() == "mine\n"
    assert (tree / "junit.xml").exists(), "nothing is taken before it is certain"
    (tree / name).unlink()


@in_one_worktree
def test_without_those_files_it_is_removed(tested):
    """The last one: those before it need the worktree."""
    tested.run("remove", "mine", cwd=tested.root / "test-integration-mine")
    assert (tested.artifacts / "test-integration-mine/junit.xml").exists()
    tested.auditor().assert_nothing()


@pytest.mark.slow
def test_a_second_worktree_of_that_id_overwrites_nothing(project):
    for _ in range(2):
        typed(project, "echo '<testsuites/>' > junit.xml")
        project.run("remove", "mine")
        project.create("test-integration", "mine", "--ports")
    assert len(list((project.artifacts / "test-integration-mine").glob("junit*.xml"))) == 2
