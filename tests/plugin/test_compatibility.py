"""A database for every test beside the plugins that people use, all of them installed in one environment."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

# One worker makes the environment, and the template, for all of them.
pytestmark = [pytest.mark.slow, pytest.mark.postgres, pytest.mark.xdist_group("plugged")]

CONFIG = """
[services.postgres]
migrate = "echo x >> {count}; {psql} --quiet --set ON_ERROR_STOP=1 --file schema.sql"
inputs = ["schema.sql"]
"""
SCHEMA = """
CREATE TABLE things (id serial PRIMARY KEY, name text UNIQUE);
INSERT INTO things (name) VALUES ('first');
"""
INI = "[pytest]\npythonpath = .\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\n"
SHARED = """
import psycopg

def write(database):
    with psycopg.connect(database.url) as connection:
        assert connection.execute("SELECT array_agg(name) FROM things").fetchone() == (["first"],)
        assert connection.execute("INSERT INTO things (name) VALUES ('same') RETURNING id").fetchone() == (2,)
        return connection.info.dbname
"""
TESTS = """
import psycopg, pytest
from shared import write

@pytest.mark.parametrize("number", range(3))
def test_clone(database, number):
    write(database)

@pytest.mark.xdist_group("together")
@pytest.mark.testgrove_database(isolation="reset")
@pytest.mark.parametrize("number", range(3))
def test_reset(database, number):
    write(database)

class TestScope:
    def test_one(self, database):
        write(database)
    def test_other(self, database):
        write(database)
"""
FLAKY = """
import pathlib, pytest
from shared import write

@pytest.mark.parametrize("database", ["clone", "reset", "transaction"], indirect=True)
def test_flaky(database, request, tmp_path_factory):
    mark = pathlib.Path(__file__).with_name(f"tries-{request.node.callspec.id}")
    name = write(database)  # nothing of the try before is there
    tries = mark.read_text().split() if mark.exists() else []
    mark.write_text(" ".join([*tries, name]))
    assert len(tries) == 2
    if database.isolation == "clone":
        assert name not in tries
"""
TIMEOUT = """
import psycopg, pytest
from shared import write

@pytest.mark.timeout(2)
def test_hangs(database):
    write(database)
    with psycopg.connect(database.url) as connection:
        connection.execute("SELECT pg_advisory_lock(1)")
        connection.execute("SELECT pg_sleep(600)")

def test_next(database):
    write(database)
"""
ASYNC = """
import asyncio, psycopg, pytest

@pytest.fixture
async def connection(database):
    async with await psycopg.AsyncConnection.connect(database.url) as connection:
        yield connection

@pytest.mark.parametrize("number", range(3))
async def test_it(connection, number):
    found = await connection.execute("INSERT INTO things (name) VALUES ('same') RETURNING id")
    assert await found.fetchone() == (2,)
"""
QUIET = ("-q", "-p", "no:cacheprovider")
ALONE = ("-p", "no:randomly")


@pytest.fixture(scope="module")
def made():
    """One project for all, so that the migration runs once."""
    from grove import new_base, plant, uproot

    base = new_base()
    yield plant(base)
    uproot(base)


@pytest.fixture
def project(made, require_postgres):
    psql = require_postgres.bindir / "psql"
    if not psql.exists():
        pytest.skip("these PostgreSQL binaries come without psql")
    config = made.repo / "testgrove.toml"
    if "services" not in config.read_text():
        text = CONFIG.format(psql=psql, count=made.base / "migrations")
        files = {"testgrove.toml": text + config.read_text(), "schema.sql": SCHEMA, "pytest.ini": INI}
        made.write({**files, "shared.py": SHARED, "all/test_one.py": TESTS, "all/test_two.py": TESTS})
    yield made
    made.auditor().assert_nothing(within=5.0)
    assert (made.base / "migrations").read_text() == "x\n", "once for all of these sessions"


@pytest.fixture
def run(project, plugged_python):
    def run(*arguments: str, tests: str = "all") -> subprocess.CompletedProcess[str]:
        program = (plugged_python, "-m", "pytest", *QUIET)
        environ = {"TESTGROVE": str(Path(sys.executable).with_name("testgrove"))}
        return project.run(*arguments, tests, program=program, env=environ, check=False)

    return run


@pytest.fixture
def place(project):
    """Put a test file where no other session collects it."""

    def place(text: str, name: str) -> str:
        project.write({f"{name}/test_it.py": text})
        return name

    return place


def outcomes(done: subprocess.CompletedProcess[str]) -> str:
    return re.sub(r" in .*", "", done.stdout.strip().splitlines()[-1]).strip("= ")


@pytest.mark.parametrize("dist", ["load", "loadscope", "loadfile", "loadgroup", "worksteal", "no"])
def test_xdist(run, dist):
    done = run(*ALONE, "-n", "3", "--dist", dist)
    assert outcomes(done) == "16 passed", done.stdout + done.stderr


def test_xdist_each(run):
    done = run(*ALONE, "--tx", "2*popen", "--dist", "each")
    assert outcomes(done) == "32 passed", done.stdout + done.stderr


@pytest.mark.parametrize("workers", ["0", "2"])
@pytest.mark.parametrize("order", [("--randomly-seed=7",), (*ALONE, "--random-order-bucket=global")])
def test_orders(run, order, workers):
    done = run(*order, "-n", workers)
    assert outcomes(done) == "16 passed", done.stdout + done.stderr


@pytest.mark.parametrize("workers", ["0", "2"])
def test_rerunfailures_gets_a_fresh_database_for_every_rerun(run, place, workers):
    done = run(*ALONE, "--reruns", "2", "-n", workers, tests=place(FLAKY, f"flaky{workers}"))
    assert outcomes(done) == "3 passed, 6 rerun", done.stdout + done.stderr


@pytest.mark.parametrize("workers", ["0", "2"])
def test_cov(run, project, workers):
    done = run(*ALONE, "-n", workers, "--cov=shared", "--cov-report=term")
    assert outcomes(done) == "16 passed", done.stdout + done.stderr
    assert re.search(r"^shared.py +\d+ +0 +100%", done.stdout, re.MULTILINE), done.stdout
    (project.repo / ".coverage").unlink()


def test_timeout(run, place):
    done = run(*ALONE, tests=place(TIMEOUT, "signal"))
    assert outcomes(done) == "1 failed, 1 passed", done.stdout + done.stderr
    assert "Timeout" in done.stdout


def test_timeout_that_ends_the_process(run, place):
    done = run(*ALONE, "--timeout-method=thread", tests=place(TIMEOUT, "thread"))
    assert done.returncode == 1
    assert "Timeout" in done.stdout + done.stderr
    done = run(*ALONE, "-n", "1", "--timeout-method=thread", tests="thread")
    assert outcomes(done) == "1 failed, 1 passed", done.stdout + done.stderr


@pytest.mark.parametrize("workers", ["0", "2"])
def test_asyncio(run, place, workers):
    done = run(*ALONE, "-n", workers, tests=place(ASYNC, "asynchronous"))
    assert outcomes(done) == "3 passed", done.stdout + done.stderr


def test_all_of_them_together(run):
    done = run(
        "-n", "2", "--dist", "worksteal", "--reruns", "1", "--cov=shared", "--timeout", "60", "--randomly-seed=7"
    )
    assert outcomes(done) == "16 passed", done.stdout + done.stderr
