"""The fixture `migrations`: empty databases for tests of migrations, in plain pytest and in a run."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time

import psutil
import pytest

import users_server
from alembic_project import alembic
from grove import MAKE_A_TABLE

pytestmark = [pytest.mark.slow, pytest.mark.postgres]

PLUGGED = (sys.executable, "-m", "pytest", "-p", "no:cacheprovider")
CONFIG = """
[services.postgres]
migrate = "echo built >> {log}; {migrate}"
inputs = ["sql/*.sql"]
[services.sqlite]
migrate = "echo built >> {log}; {migrate}"
inputs = ["sql/*.sql"]
[suites.migration]
command = "pytest -q -n 2 tests"
services = ["postgres", "sqlite"]
[ports]
"""
SQL = {
    "sql/0001_people.up.sql": "CREATE TABLE people (id int PRIMARY KEY, name text);",
    "sql/0001_people.down.sql": "DROP TABLE people;",
    "sql/0002_age.up.sql": "ALTER TABLE people ADD COLUMN age int; CREATE TABLE pets (n int);",
    "sql/0002_age.down.sql": "ALTER TABLE people DROP COLUMN age; DROP TABLE pets;",
    "sql/0003_more.up.sql": "CREATE TABLE more (n int);",
}
TESTS = """
import sqlite3
import pytest
from pytest_testgrove import MigrationError, Schema

both = pytest.mark.parametrize("migrations", ["postgres", "sqlite"], indirect=True)
P = {"postgres": "public.", "sqlite": ""}

def run(migrations, statement):
    if migrations.engine == "sqlite":
        with sqlite3.connect(migrations.name) as database:
            return database.execute(statement).fetchall()
    import psycopg
    with psycopg.connect(migrations.url) as database:
        cursor = database.execute(statement)
        return cursor.fetchall() if cursor.description else None

@both
def test_forward_and_back(migrations):
    assert migrations.revisions == ["0001_people", "0002_age", "0003_more"]
    assert migrations.conflicts == ""
    empty = migrations.schema()
    migrations.upgrade("0001")
    first = migrations.schema()
    assert f"table {P[migrations.engine]}people" in first and len(empty) < len(first)
    assert first != empty and hash(first) != hash(empty)
    migrations.upgrade("0002_age")
    second = migrations.schema()
    migrations.downgrade("0001")
    assert migrations.schema() == first
    assert second.diff(first).splitlines()[0].startswith("- column")
    assert repr(first).startswith("Schema(") and "people" in str(first)
    migrations.downgrade("base")
    assert migrations.schema() == empty
    migrations.upgrade()
    assert f"table {P[migrations.engine]}more" in migrations.schema()

@both
def test_data_is_kept_unless_it_is_not(migrations):
    migrations.upgrade("0001")
    run(migrations, "INSERT INTO people VALUES (1, 'ada')")
    migrations.upgrade("0002")
    assert [tuple(row) for row in run(migrations, "SELECT name, age FROM people")] == [("ada", None)]
    migrations.downgrade("0001", keep_data=False)
    assert run(migrations, "SELECT name FROM people") == []

@both
def test_no_way_back(migrations):
    migrations.upgrade()
    with pytest.raises(MigrationError, match="0003_more has no down migration") as caught:
        migrations.downgrade("0002")
    assert caught.value.code == "irreversible"
    with pytest.raises(MigrationError) as caught:
        migrations.upgrade("0009")
    assert caught.value.code == "unknown-revision"

@both
def test_each_has_its_own(migrations):
    assert not any("people" in name for name in migrations.schema())
    migrations.upgrade("0001")

@pytest.mark.xfail(strict=True)
def test_that_fails(migrations):
    empty = migrations.schema()
    migrations.upgrade("0001")
    assert empty == migrations.schema()
"""
FAILING = """
def test_that_fails(migrations):
    migrations.upgrade("0001")
    first = migrations.schema()
    migrations.upgrade("0002")
    assert migrations.schema() == first

def test_that_cannot(migrations):
    migrations.upgrade("0003")

def test_of_another_engine():
    pass
"""


@pytest.fixture
def project(grove, require_postgres):
    needed = "pytest\npytest-xdist\npsycopg[binary]\n"
    made = grove(files={**SQL, "tests/test_migrations.py": TESTS, "requirements.txt": needed})
    text = CONFIG.format(log=made.base / "built", migrate=MAKE_A_TABLE).replace("[ports]\n", "")
    made.write({"testgrove.toml": text + (made.repo / "testgrove.toml").read_text()}, commit="Services")
    return made


def plain(project, *arguments: str) -> subprocess.CompletedProcess[str]:
    return project.run("-q", "tests", *arguments, program=PLUGGED, check=False)


def outcomes(done) -> str:
    return re.sub(r" in .*", "", done.stdout.strip().splitlines()[-1])


@pytest.mark.parametrize("arguments", [(), ("-n", "2")], ids=["alone", "xdist"])
def test_in_plain_pytest(project, arguments):
    done = plain(project, *arguments)
    assert outcomes(done) == "8 passed, 1 xfailed", done.stdout + done.stderr
    assert not (project.base / "built").exists(), "an empty database needs no template"
    project.auditor().assert_nothing(within=5.0)


def test_in_a_run(project):
    done = project.run("test", "migration", check=False, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "8 passed" in done.stdout + done.stderr
    project.auditor().assert_no_leftovers(within=2.0)


def test_a_difference_is_shown_and_a_migration_that_fails_says_why(project):
    project.write({"tests/test_migrations.py": FAILING, "sql/0003_more.up.sql": "CREATE TABEL more (n int);"})
    done = plain(project)
    assert outcomes(done) == "2 failed, 1 passed", done.stdout
    assert "the schemas differ (- only on the left, + only on the right):" in done.stdout
    assert "- column public.people.age: integer" in done.stdout
    assert "sql/0003_more.up.sql failed: syntax error" in done.stdout
    project.auditor().assert_nothing(within=5.0)


def test_without_migrations_it_says_what_is_missing(project):
    ports = (project.repo / "testgrove.toml").read_text().partition("[ports]")[2]
    project.write({"testgrove.toml": f"[services.postgres]\n[ports]{ports}", "tests/test_migrations.py": FAILING})
    done = plain(project, "-k", "cannot", "-vv")
    assert "fixture 'migrations': " in done.stdout
    assert "no migrations of postgres found" in done.stdout
    assert 'migrate = "alembic upgrade head" in [tool.testgrove.services.postgres]' in done.stdout
    assert "Traceback" not in done.stdout


ALEMBIC = """
import pytest, psycopg
from pytest_testgrove import MigrationError

def test_alembic(migrations):
    assert migrations.revisions == ["a", "b"]
    empty = migrations.schema()
    migrations.upgrade("+1")
    first = migrations.schema()
    with psycopg.connect(migrations.url) as database:
        database.execute("INSERT INTO a VALUES (1)")
    migrations.upgrade()
    with pytest.raises(MigrationError, match="no way back") as caught:
        migrations.downgrade("-1")
    assert caught.value.code == "irreversible"
    migrations.upgrade("head", keep_data=False)
    with psycopg.connect(migrations.url) as database:
        assert database.execute("SELECT count(*) FROM a").fetchone() == (0,)

def test_back_on_an_untouched_one(migrations):
    with pytest.raises(pytest.fail.Exception, match="left its database empty"):
        migrations.downgrade("base")
"""


def test_with_alembic_on_a_server_of_the_users(grove, require_postgres, tools):
    drop = "op.drop_table(revision)"
    files = alembic(a=(None, drop), b=("a", 'raise NotImplementedError("no way back")'))
    with users_server.users_postgres(require_postgres) as server:
        before = server.databases()
        config = f'[services.postgres]\nhost = "{server.url}"\nmigrate = "{tools}/bin/alembic upgrade head"\n'
        made = grove(config=config, files={**files, "tests/test_migrations.py": ALEMBIC})
        done = plain(made)
        assert outcomes(done) == "2 passed", done.stdout + done.stderr
        made.auditor().assert_nothing(within=5.0)
        assert server.databases() == before


WAITS = """
import os, pathlib, time

def test_it(migrations):
    migrations.upgrade("0001")
    pathlib.Path(os.environ["MARK"]).write_text(migrations.url)
    time.sleep(60)
"""


@pytest.mark.parametrize("victim", ["pytest", "broker", "server"])
def test_whoever_is_killed_the_next_command_finds_nothing(project, victim):
    project.write({"tests/test_migrations.py": WAITS})
    mark = project.base / "mark"
    session = project.start("-q", "tests", program=PLUGGED, env={"MARK": str(mark)}, output=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not mark.exists():
        assert session.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    brokers = [p for p in psutil.process_iter() if "broker" in words(p) and str(project.repo) in words(p)]
    (broker,) = brokers
    (server,) = [p for p in broker.children(recursive=True) if words(p)[:1] and words(p)[0].endswith("/postgres")]
    {"pytest": session, "broker": broker, "server": server}[victim].send_signal(signal.SIGKILL)
    if victim != "pytest":
        session.kill()
    session.wait()
    psutil.wait_procs(brokers, 20)
    project.run("list")
    project.auditor().assert_nothing(within=5.0)


def words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []
