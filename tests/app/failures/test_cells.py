"""`test --keep-failed`: the worktree of a cell that failed stays for people, bounded in number and age."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing

import pytest

from auditor import git
from grove import Grove, said

FILES = {
    "README.md": "A project.\n",
    ".gitignore": "__pycache__/\n",
    "tests/good/test_good.py": "def test_it(): pass\n",
    "tests/bad/test_bad.py": "import pathlib\ndef test_it():\n    pathlib.Path('evidence.txt').write_text('why')\n"
    "    assert False\n",
}
CONFIG = """
[suites.good]
command = "pytest tests/good"
[suites.bad]
command = "pytest tests/bad --junitxml=junit.xml"
ports = true
"""


@pytest.fixture
def project(grove) -> Grove:
    return grove(files=FILES, config=CONFIG)


@pytest.mark.slow
def test_what_failed_is_kept_and_what_passed_is_parked(project):
    done = project.run("test", "--keep-failed", check=False)
    assert done.returncode == 1
    tree = project.tree("test-bad-tree")
    assert f"kept in {tree}" in done.stdout
    there = project.worktrees()
    assert {name: entry["status"] for name, entry in there.items()} == {
        "test-good-tree": "parked",
        "test-bad-tree": "ready",
    }
    run = project.runs()[0]
    assert there["test-bad-tree"]["note"] == f"kept: bad failed in run {run.name}"
    assert f"(kept: bad failed in run {run.name})" in project.run("list").stdout
    assert there["test-bad-tree"]["ports"]
    assert (tree / "evidence.txt").read_text() == "why"
    assert (run / "test-bad-tree/junit.xml").exists()
    again = project.run("exec", "test-bad-tree", "--", "pytest", "-q", "tests/bad", check=False)
    assert "1 failed" in again.stdout
    assert git(tree, "status", "--porcelain") == "?? evidence.txt\n"
    project.auditor().assert_no_leftovers()
    # The next run makes its own, and what the attempt wrote is nobody's.
    project.run("test", check=False)
    assert set(project.worktrees()) == {"test-good-tree", "test-bad-tree", "test-bad-tree-2"}
    project.run("remove", "test-bad-tree", "--force")
    project.run("cleanup", "--max-age", "0", "--yes")
    assert project.worktrees() == {}
    project.auditor().assert_nothing()


@pytest.mark.slow
def test_cleanup_takes_it_whatever_its_purpose_is(grove):
    project = grove(files=FILES, config=CONFIG.replace("ports = true", 'purpose = "odd"'))
    project.run("test", "bad", "--keep-failed", check=False)
    project.create("odd", "mine")
    project.run("cleanup", "--max-age", "0", "--yes")
    assert set(project.worktrees()) == {"odd-mine"}


@pytest.mark.slow
def test_number_and_age_are_bounded(project):
    for _ in range(3):
        project.run("test", "bad", "--keep-failed", check=False)
    assert set(project.worktrees()) == {"test-bad-tree", "test-bad-tree-2", "test-bad-tree-3"}
    (project.tree("test-bad-tree-2") / "mine.txt").write_text("mine")
    with closing(sqlite3.connect(project.state / "state.db")) as store, store:
        store.execute("UPDATE worktrees SET parked = ? WHERE id != 'test-bad-tree-3'", [time.time() - 8 * 86400])
    project.run("test", "good")
    left = set(project.worktrees())
    assert left == {"test-good-tree", "test-bad-tree-2", "test-bad-tree-3"}, "a week; what is the user's stays"
    with closing(sqlite3.connect(project.state / "state.db")) as store, store:
        row = store.execute("SELECT * FROM worktrees WHERE id = 'test-bad-tree-3'").fetchone()
        names = [column[1] for column in store.execute("PRAGMA table_info(worktrees)")]
        for number in range(8):  # newer ones, the folders of which are gone
            values = dict(zip(names, row, strict=True)) | {
                "id": f"test-bad-x{number}", "identifier": f"x{number}", "path": f"{project.root}/x{number}",
                "parked": time.time(), "ports": "{}",
            }  # fmt: skip
            store.execute(f"INSERT INTO worktrees VALUES ({','.join('?' * len(names))})", list(values.values()))
    project.run("test", "good")
    assert "test-bad-tree-3" not in project.worktrees(), "eight at most"


@pytest.mark.slow
@pytest.mark.postgres
def test_the_database_is_dumped_and_its_address_taken_back(grove, require_postgres):
    config = "[services.postgres]\nmigrate = \"psql -q -c 'create table t (n int)' -c 'insert into t values (42)'\"\n"
    suite = """[suites.bad]
command = "sh -c 'psql -q -c \\"insert into t values (43)\\"; exit 1'"
services = ["postgres"]
"""
    project = grove(files=FILES, config=config + suite)
    path = f"{require_postgres.bindir}:{project.env['PATH']}"
    done = project.run("test", "--keep-failed", check=False, env={"PATH": path})
    assert done.returncode == 1, said(done)
    entry = project.worktrees()["test-bad-tree"]
    if not (require_postgres.bindir / "pg_dump").exists():
        pytest.skip("these binaries have no pg_dump")
    dump = project.runs()[0] / "test-bad-tree/database.sql"
    assert entry["note"].endswith(f"; its database is in {dump}")
    assert "42\n43\n" in dump.read_text()
    env = (project.tree("test-bad-tree") / ".env.test").read_text()
    assert "DATABASE_URL" not in env
    assert entry["databases"] == {}
    project.auditor().assert_no_leftovers()


@pytest.mark.slow
def test_a_suite_that_cannot_start_is_kept_too(grove):
    project = grove(files=FILES, config='[suites.bad]\ncommand = "no-such-command"\n')
    done = project.run("test", "--keep-failed", check=False)
    assert done.returncode == 1
    assert project.worktrees()["test-bad-tree"]["note"].startswith("kept: bad error in run")


def test_an_interrupted_run_keeps_nothing(grove):
    project = grove(files=FILES, config='[suites.bad]\ncommand = "touch started; sleep 300"\n')
    process = project.start("test", "--keep-failed")
    deadline = time.monotonic() + 60
    while not list(project.root.glob("*/started")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(2)
    process.communicate(timeout=60)
    assert project.worktrees()["test-bad-tree"]["status"] == "parked"
