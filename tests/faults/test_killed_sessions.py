"""kill -9 in the middle of tests that have databases of their own: nothing is left, and the next session passes.

`KILLS=100` sets how often; each case logs the seed that repeats it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from faults.sweeping import random_source
from grove import Grove, processes_of
from services.cases import until

pytestmark = [pytest.mark.slow, pytest.mark.postgres, pytest.mark.timeout(3600)]

KILLS = int(os.environ.get("KILLS", "2"))
PYTEST = (sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:randomly", "-q", "-n", "2", "tests")
FILES = {
    "schema.sql": "CREATE TABLE things (id serial PRIMARY KEY, name text UNIQUE);\n",
    "tests/test_db.py": """
import os, pathlib, time, psycopg, pytest

@pytest.mark.parametrize("database", ["clone", "reset"] * 12, indirect=True)
def test_it(database):
    with psycopg.connect(database.url) as connection:
        assert connection.execute("INSERT INTO things (name) VALUES ('same') RETURNING id").fetchone() == (1,)
        connection.commit()
        connection.execute("SELECT pg_advisory_lock(1)")
        pathlib.Path(os.environ["MARK"]).touch()
        time.sleep(0.03)
""",
}
CONFIG = """
[services.postgres]
migrate = "{psql} --quiet --set ON_ERROR_STOP=1 --file schema.sql"
inputs = ["schema.sql"]
"""


@pytest.fixture
def project(grove, require_postgres) -> Grove:
    psql = require_postgres.bindir / "psql"
    if not psql.exists():
        pytest.skip("these PostgreSQL binaries come without psql")
    return grove(files=FILES, config=CONFIG.format(psql=psql))


def begin(project: Grove, mark: Path) -> subprocess.Popen[str]:
    """A session of two workers, in the middle of a test."""
    mark.unlink(missing_ok=True)
    session = project.start(program=PYTEST, env={"MARK": str(mark)})
    deadline = time.monotonic() + 60
    while not mark.exists():
        assert session.poll() is None, session.communicate()
        assert time.monotonic() < deadline, "no test has begun"
        time.sleep(0.01)
    return session


def worker(session: psutil.Process) -> list[psutil.Process]:
    return [child for child in session.children() if "execnet" in " ".join(_cmdline(child))]


def controller(session: psutil.Process) -> list[psutil.Process]:
    return [session]


def broker(session: psutil.Process) -> list[psutil.Process]:
    words = {"broker", "--session", str(session.pid)}
    return [process for process in psutil.process_iter(["cmdline"]) if words <= set(process.info["cmdline"] or ())]


def server(session: psutil.Process) -> list[psutil.Process]:
    below = [each for one in broker(session) for each in one.children(recursive=True)]
    return [each for each in below if "-D" in (words := _cmdline(each)) and "postgres" in words[0]]


def _cmdline(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:  # backends come and go
        return []


@pytest.mark.parametrize("victims", [worker, controller, broker, server], ids=lambda victims: victims.__name__)
def test_killed_in_the_middle_of_a_test(project, victims, tmp_path):
    source, words = random_source(victims.__name__)
    mark = tmp_path / "mark"
    whole = project.run(program=PYTEST, env={"MARK": str(mark)})
    assert "24 passed" in whole.stdout
    for number in range(KILLS):
        session = begin(project, mark)
        delay = source.uniform(0.0, 0.4)
        time.sleep(delay)
        what = f"kill number {number} of {words}, {delay:.3f} s after the first test had begun"
        alive = session.poll() is None
        for victim in [source.choice(found)] if (found := alive and victims(psutil.Process(session.pid))) else []:
            victim.kill()
        try:
            out, err = session.communicate(timeout=90)
            done = project.run("list", check=False)
            assert done.returncode == 0, done.stderr
            project.auditor().assert_nothing(within=5.0)
            until(lambda: not processes_of(project.base))  # a broker goes a moment after its session
            again = project.run(program=PYTEST, env={"MARK": str(mark)}, check=False)
            assert "24 passed" in again.stdout, again.stdout + again.stderr
        except (AssertionError, subprocess.TimeoutExpired) as error:
            error.add_note(f"{what}; the session said: {locals().get('out', '')}{locals().get('err', '')}")
            raise
    project.auditor().assert_nothing(within=5.0)
