"""A fresh database for every test on a PostgreSQL of the user's: nothing there is another one afterwards."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time

import psutil
import pytest

import users_server

pytestmark = [pytest.mark.slow, pytest.mark.postgres]

PLUGGED = (sys.executable, "-m", "pytest", "-p", "no:cacheprovider")
CONFIG = """
[services.postgres]
host = "{url}"
migrate = "echo x >> {count}; psql --quiet --set ON_ERROR_STOP=1 --file schema.sql"
inputs = ["schema.sql"]
[suites.db]
command = "pytest -q -n 2 runs"
services = ["postgres"]
"""
SCHEMA = """
CREATE TABLE things (id serial PRIMARY KEY, name text UNIQUE);
INSERT INTO things (name) VALUES ('first');
"""
TESTS = """
import subprocess, pytest

def psql(database, statement):
    done = subprocess.run(["psql", "-Atq", "-c", statement, database.url], capture_output=True, text=True)
    return done.stdout.strip() + done.stderr.strip()

@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize("database", ["clone", "reset"], indirect=True)
def test_it(database, number):
    assert psql(database, "SELECT name FROM things") == "first"
    assert psql(database, "INSERT INTO things (name) VALUES ('same') RETURNING id") == "2"
"""
WAITS = """
import pathlib, psycopg, time

def test_it(database):
    with psycopg.connect(database.url) as connection:
        connection.execute("DELETE FROM things")
        pathlib.Path(MARK).touch()
        while connection.execute("SELECT pg_sleep(0.05)"):
            pass
"""
USERS = {"postgres", "template0", "template1", "shop", "testdb_unit_x", "testgrove_pool_of_mine"}


@pytest.fixture(scope="module")
def running(require_postgres):
    if shutil.which("psql") is None:
        pytest.skip("there is no psql on the PATH")
    with users_server.users_postgres(require_postgres) as server:
        yield server


@pytest.fixture
def server(running):
    running.clear()
    for name in USERS - {"postgres", "template0", "template1"}:
        running.sql(f"CREATE DATABASE {name} OWNER ci")
    return running


@pytest.fixture
def project(grove, server):
    made = grove(files={"schema.sql": SCHEMA, "requirements.txt": "pytest\npytest-xdist\n"})
    text = CONFIG.format(url=server.url, count=made.base / "migrations")
    files = {"testgrove.toml": text + (made.repo / "testgrove.toml").read_text(), "tests/test_db.py": TESTS}
    made.write({**files, "runs/test_run.py": TESTS}, commit="Services")
    return made


def plain(project, *arguments: str) -> subprocess.CompletedProcess[str]:
    return project.run("-q", "tests", *arguments, program=PLUGGED, check=False)


def outcomes(done) -> str:
    return re.sub(r" in .*", "", done.stdout.strip().splitlines()[-1])


def settle(server) -> None:
    deadline = time.monotonic() + 30
    while server.unsealed() != USERS and time.monotonic() < deadline:
        time.sleep(0.02)
    assert server.unsealed() == USERS


@pytest.mark.parametrize("workers", ["0", "3"])
def test_plain_pytest_leaves_the_users_server_as_it_was_but_for_a_sealed_template(project, server, workers):
    done = plain(project, "-n", workers)
    assert outcomes(done) == "8 passed", done.stdout + done.stderr
    settle(server)
    assert outcomes(plain(project)) == "8 passed"
    settle(server)
    assert (project.base / "migrations").read_text() == "x\n"
    assert len(server.templates()) == 1
    assert users_server.PASSWORD not in done.stdout + done.stderr
    project.auditor().assert_nothing(within=5.0)


def test_so_does_a_run(project, server):
    done = project.run("test", "db")
    assert "8 passed" in done.stderr + done.stdout
    assert server.unsealed() == USERS
    assert (project.base / "migrations").read_text() == "x\n"
    project.auditor().assert_no_leftovers(within=2.0)


def test_everybodys_database_is_not_lent(project, server):
    project.write({"testgrove.toml": f'[services.postgres]\nhost = "{server.url}"\nisolation = "none"\n'})
    assert "that all tests share" in plain(project).stdout


@pytest.mark.parametrize("victim", ["pytest", "broker", "both"])
def test_whoever_is_killed_in_the_middle_of_a_test_the_next_command_finds_nothing(project, server, victim):
    mark = project.base / "mark"
    project.write({"tests/test_db.py": WAITS.replace("MARK", repr(str(mark)))})
    session = project.start("-q", "tests", program=PLUGGED, output=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while not mark.exists():
            assert time.monotonic() < deadline
            assert session.poll() is None
            time.sleep(0.01)
        broker = next(process for process in psutil.process_iter() if _is_broker(process, project))
        if victim != "pytest":
            broker.kill()
        if victim != "broker":
            os.killpg(session.pid, signal.SIGKILL)
        psutil.wait_procs([broker], 30)
    finally:
        if session.poll() is None:
            os.killpg(session.pid, signal.SIGKILL)
        session.wait()
    project.run("list")
    settle(server)
    project.auditor().assert_nothing(within=5.0)
    project.write({"tests/test_db.py": TESTS})
    assert outcomes(plain(project)) == "8 passed"
    settle(server)
    project.auditor().assert_nothing(within=10.0)
    assert server.locks() == 0


def _is_broker(process: psutil.Process, project) -> bool:
    try:
        return "broker" in process.cmdline() and str(project.repo) in process.cmdline()
    except psutil.Error:
        return False
