"""`--keep-failed`: what was in the databases of failed tests, in plain pytest and in `testgrove test`."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.postgres]

PLUGGED = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider")
CONFIG = """
[services.postgres]
migrate = "psql --quiet --set ON_ERROR_STOP=1 --file schema.sql"
inputs = ["schema.sql"]
[services.sqlite]
migrate = "python migrate.py"
[suites.db]
command = "pytest -q -n 2 tests"
services = ["postgres", "sqlite"]
"""
SCHEMA = "CREATE TABLE things (name text); INSERT INTO things VALUES ('first');"
MIGRATE = (
    "import os, sqlite3\nwith sqlite3.connect(os.environ['SQLITE_PATH']) as db: db.execute('CREATE TABLE t (n)')\n"
)
TESTS = """
import sqlite3, subprocess, pytest

def psql(database, statement):
    subprocess.run(["psql", "-Atq", "-c", statement, database.url], check=True)

@pytest.mark.parametrize("database", ["clone", "reset"], indirect=True)
def test_fails(database):
    psql(database, f"INSERT INTO things VALUES ('of {database.isolation}')")
    assert False

def test_passes(database):
    psql(database, "INSERT INTO things VALUES ('of nobody')")

def test_file(sqlite_path):
    with sqlite3.connect(sqlite_path) as database:
        database.execute("INSERT INTO t VALUES (42)")
    assert False
"""


@pytest.fixture
def project(grove, require_postgres):
    if shutil.which("psql") is None or not (require_postgres.bindir / "pg_dump").exists():
        pytest.skip("there is no psql on the PATH, or no pg_dump")
    files = {"schema.sql": SCHEMA, "migrate.py": MIGRATE, "tests/test_db.py": TESTS}
    return grove(files={**files, "requirements.txt": "pytest\npytest-xdist\n"}, config=CONFIG)


def plain(project, *arguments: str) -> subprocess.CompletedProcess[str]:
    return project.run("tests", *arguments, program=PLUGGED, check=False)


def kept(project) -> dict[str, str]:
    """Names by tests."""
    return {entry["test"].rpartition("::")[2]: entry["name"] for entry in project.json("db", "list")["kept"]}


def ask(project, name: str, question: str) -> str:
    """What a person gets who types it into the shell."""
    shell = [sys.executable, "-m", "testgrove", "db", "shell", name]
    done = subprocess.run(
        shell, cwd=project.repo, env=project.env, input=question, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("arguments", [(), ("-n", "2")])
def test_plain_pytest_keeps_the_databases_of_failed_tests(project, arguments):
    done = plain(project, "--testgrove-keep-failed", *arguments)
    assert "3 failed, 1 passed" in done.stdout, done.stdout + done.stderr
    found = kept(project)
    assert set(found) == {"test_fails[clone]", "test_fails[reset]", "test_file"}
    for name in found.values():
        assert f"its database is kept: testgrove db shell {name}" in done.stdout
    project.auditor().assert_nothing(within=5.0)
    assert "of clone" in ask(project, found["test_fails[clone]"], "SELECT * FROM things;")
    assert "of clone" not in ask(project, found["test_fails[reset]"], "SELECT * FROM things;")
    if shutil.which("sqlite3"):
        assert "42" in ask(project, found["test_file"], "SELECT n FROM t;")
    project.auditor().assert_nothing(within=2.0)
    assert project.git("status", "--porcelain", "--", ".", ":(exclude,glob)**/__pycache__/**") == ""  # pytest's own
    listed = project.run("db", "list").stdout
    assert re.search(
        rf"^kept  postgres  {re.escape(found['test_fails[clone]'])}  tests/test_db.py::", listed, re.MULTILINE
    )
    lost = project.run("db", "shell", "another-one", check=False)
    assert lost.returncode == 3
    assert "no worktree or kept database 'another-one' found" in lost.stderr
    assert "testgrove db list" in lost.stderr
    project.run("cleanup", "--max-age", "0", "--yes")
    assert kept(project) == {}


def test_a_run_does_so_too(project):
    project.run("test", "db", "--keep-failed", check=False)
    assert set(kept(project)) == {"test_fails[clone]", "test_fails[reset]", "test_file"}
    project.auditor().assert_no_leftovers(within=2.0)


def test_nothing_is_kept_that_nobody_asked_for(project):
    plain(project)
    assert kept(project) == {}
    assert "kept" not in project.run("db", "list").stdout


def test_number_and_age_are_bounded(project):
    folder = project.artifacts / "databases"
    for number in range(25):
        when = datetime.now(UTC) - timedelta(days=number / 2)
        about = {"engine": "postgres", "test": f"t.py::test_{number}", "kept": when.isoformat()}
        (folder / f"test-{number}").mkdir(parents=True)
        (folder / f"test-{number}/about.json").write_text(json.dumps(about))
    (folder / "mine").mkdir()
    plain(project, "--testgrove-keep-failed", "-k", "clone")
    found = kept(project)
    assert len(found) == 15, "a week: 14 of them, and the new one"
    assert (folder / "mine").exists()
    for number in range(30):
        (folder / f"new-{number}").mkdir(parents=True)
        about = {"engine": "postgres", "test": f"t.py::new_{number}", "kept": datetime.now(UTC).isoformat()}
        (folder / f"new-{number}/about.json").write_text(json.dumps(about))
    plain(project, "--testgrove-keep-failed", "-k", "clone")
    assert len(kept(project)) == 20
    assert "would remove" in project.run("cleanup", "--max-age", "0").stderr
    assert len(kept(project)) == 20


def test_a_name_that_nothing_is_kept_under(project):
    done = project.run("db", "shell", "test-none-1234", check=False)
    assert done.returncode == 3
