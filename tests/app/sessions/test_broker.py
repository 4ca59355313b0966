"""Plain pytest, and `testgrove test`, with a fresh database for every test: through a broker that leaves nothing."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from grove import processes_of
from services.cases import until

pytestmark = [pytest.mark.slow, pytest.mark.postgres]

PLUGGED = (sys.executable, "-m", "pytest", "-p", "no:cacheprovider")
CONFIG = """
[services.postgres]
migrate = "echo x >> {count}; {psql} --quiet --set ON_ERROR_STOP=1 --file schema.sql"
inputs = ["schema.sql"]
[suites.db]
command = "pytest -q -n 2 runs"
services = ["postgres"]
[suites.without]
command = "pytest -q runs -k one"
"""
SCHEMA = """
CREATE TABLE things (id serial PRIMARY KEY, name text UNIQUE);
INSERT INTO things (name) VALUES ('first');
"""
TESTS = """
import psycopg, pytest

def write(database):
    with psycopg.connect(database.url) as connection:
        assert connection.execute("SELECT array_agg(name) FROM things").fetchone() == (["first"],)
        assert connection.execute("INSERT INTO things (name) VALUES ('same') RETURNING id").fetchone() == (2,)

@pytest.mark.parametrize("number", range(6))
def test_clone(database, number):
    assert database.isolation == "clone"
    write(database)

@pytest.mark.testgrove_database(isolation="reset")
@pytest.mark.parametrize("number", range(6))
def test_reset(database, number):
    assert database.isolation == "reset"
    write(database)

@pytest.mark.parametrize("database", ["transaction"], indirect=True)
def test_parameter(database):
    assert database.isolation == "transaction"
    assert repr(database).startswith("Database(") and database.password not in repr(database)
    assert psycopg.connect(host=database.host, port=database.port, user=database.user, dbname=database.name,
                           password=database.password).close() is None
"""
RUNS = """
import subprocess, pytest

def psql(database, statement):
    done = subprocess.run(["{psql}", "-Atq", "-c", statement, database.url], capture_output=True, text=True)
    return done.stdout.strip() + done.stderr.strip()

@pytest.mark.parametrize("isolation", ["one", "two", "three"])
@pytest.mark.parametrize("database", ["clone", "reset"], indirect=True)
def test_it(database, isolation, database_url):
    assert database.url != database_url
    assert psql(database, "SELECT name FROM things") == "first"
    assert psql(database, "INSERT INTO things (name) VALUES ('same') RETURNING id") == "2"
"""
WAITS = """
import os, pathlib, time, psycopg

def test_it(database):
    connection = psycopg.connect(database.url, autocommit=True)
    connection.execute("DELETE FROM things")
    pathlib.Path(os.environ["MARK"]).with_suffix(f".{os.getpid()}").write_text(database.url)
    time.sleep(60)

def test_other(database):
    test_it(database)
"""

ORPHAN = """
import os, pathlib, signal, time

def test_it(request):
    controller = os.getppid()
    os.kill(controller, signal.SIGKILL)
    while os.getppid() == controller:
        time.sleep(0.001)
    request.getfixturevalue("database")
"""


@pytest.fixture
def project(grove, require_postgres):
    psql = require_postgres.bindir / "psql"
    if not psql.exists():
        pytest.skip("these PostgreSQL binaries come without psql")
    files = {"schema.sql": SCHEMA, "tests/test_db.py": TESTS, "runs/test_run.py": RUNS.replace("{psql}", str(psql))}
    made = grove(files={**files, "requirements.txt": "pytest\npytest-xdist\n"})
    text = CONFIG.format(psql=psql, count=made.base / "migrations")
    made.write({"testgrove.toml": text + (made.repo / "testgrove.toml").read_text()}, commit="Services")
    return made


def plain(project, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return project.run("-q", "tests", *arguments, program=PLUGGED, env=env, check=False)


def migrations(project) -> int:
    file = project.base / "migrations"
    return file.read_text().count("x") if file.exists() else 0


def outcomes(done) -> str:
    return re.sub(r" in .*", "", done.stdout.strip().splitlines()[-1])


@pytest.mark.parametrize(
    "arguments", [(), ("-n", "3"), ("-n", "2", "--dist", "loadfile"), ("-n", "2", "-p", "no:xdist")]
)
def test_plain_pytest_migrates_once_and_no_test_meets_another(project, arguments):
    if "no:xdist" in arguments:
        arguments = ("-p", "no:randomly")
    done = plain(project, *arguments)
    assert outcomes(done) == "13 passed", done.stdout + done.stderr
    assert migrations(project) == 1
    project.auditor().assert_nothing(within=5.0)
    assert outcomes(plain(project)) == "13 passed"
    assert migrations(project) == 1
    project.write({"schema.sql": SCHEMA.replace("first", "second")})
    assert "failed" in outcomes(plain(project))
    assert migrations(project) == 2


def test_a_run_gives_its_suites_a_broker_of_its_own(project):
    done = project.run("test", "db")
    assert "6 passed" in done.stderr + done.stdout
    assert migrations(project) == 1
    project.auditor().assert_no_leftovers(within=2.0)


def test_without_the_template_cache_and_in_ci_a_session_and_a_run_migrate_again(project):
    for expected in (1, 1):
        assert outcomes(plain(project, "-k", "parameter")) == "1 passed, 12 deselected"
        assert migrations(project) == expected
    assert outcomes(plain(project, "-k", "parameter", TESTGROVE_NO_TEMPLATE_CACHE="1")) == "1 passed, 12 deselected"
    assert migrations(project) == 2
    project.run("test", "db", "--no-template-cache")
    count = migrations(project)
    assert count == 3
    project.run("test", "db")
    assert migrations(project) == count
    assert outcomes(plain(project, "-k", "parameter", CI="true")) == "1 passed, 12 deselected"
    project.run("test", "db", env={"CI": "1"})
    assert migrations(project) == count + 2
    project.run("test", "db", env={"CI": "true", "TESTGROVE_NO_TEMPLATE_CACHE": "0"})
    project.run("test", "db", env={"CI": "false"})
    assert migrations(project) == count + 2
    project.auditor().assert_no_leftovers(within=2.0)


def test_a_suite_without_postgres_says_what_it_lacks(project):
    done = project.run("test", "without", check=False)
    assert done.returncode == 1
    (log,) = project.runs()[-1].glob("*/output.log")
    assert 'services = ["postgres"]' in log.read_text()


def test_collecting_starts_nothing(project):
    done = plain(project, "--collect-only")
    assert done.returncode == 0, done.stdout
    assert not project.state.exists()


def test_what_cannot_be_had_is_an_error_that_says_what_to_do(project, tmp_path):
    done = plain(project, "-k", "parameter", TESTGROVE=str(tmp_path / "none"))
    assert "pip install 'testgrove[embedded]'" in done.stdout
    project.write({"schema.sql": "SELECT nonsense"})
    done = plain(project)
    assert outcomes(done) == "13 errors"
    assert "nonsense" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert migrations(project) == 1
    project.write({"testgrove.toml": ""})
    assert "[services.postgres] in testgrove.toml" in plain(project, "-k", "parameter").stdout
    project.auditor().assert_nothing(within=5.0)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"schema.sql": "SELECT nonsense"}, 'column "nonsense" does not exist'),
        ({"schema.sql": "CREATE EXTENSION no_such_extension"}, "no_such_extension"),
        ({"testgrove.toml": '[services.postgres]\nextensions = ["no_such_extension"]\n'}, "no_such_extension"),
    ],
    ids=["migration", "extension-in-it", "extension"],
)
def test_a_template_that_cannot_be_built_is_an_error_of_the_tests_that_need_it(project, change, says):
    ports = (project.repo / "testgrove.toml").read_text().partition("[ports]")[2]
    project.write({name: f"{text}[ports]{ports}" if name.endswith(".toml") else text for name, text in change.items()})
    project.write({"tests/test_other.py": "def test_without(): pass\n"})
    done = plain(project, "-k", "without or parameter or clone")
    assert outcomes(done) == "1 passed, 6 deselected, 7 errors", done.stdout + done.stderr
    assert done.stdout.count(says) >= 7
    assert "fixture 'database': " in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    project.auditor().assert_nothing(within=5.0)


def test_the_setting_and_its_mistakes(project):
    done = plain(project, "-k", "clone", "-o", "testgrove_database_isolation=total")
    assert "invalid isolation 'total' (supported: clone, reset, transaction)" in done.stdout
    done = plain(project, "-k", "clone", "-o", "testgrove_database_isolation=reset")
    assert "assert 'reset' == 'clone'" in done.stdout


def brokers(project) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if "broker" in process.cmdline() and str(project.repo) in process.cmdline():
                found.append(process)
        except psutil.Error:
            continue
    return found


def servers(project) -> list[psutil.Process]:
    return [
        process for broker in brokers(project) for process in broker.children(recursive=True) if _is_server(process)
    ]


def _is_server(process: psutil.Process) -> bool:
    try:
        return process.name() == "postgres" and "-D" in process.cmdline()
    except psutil.Error:  # a server's own processes come and go
        return False


class Session:
    """A pytest whose tests hold databases and wait."""

    def __init__(self, project, *arguments: str) -> None:
        project.write({"tests/test_db.py": WAITS})
        self.project, self.mark = project, project.base / "mark"
        env = {"MARK": str(self.mark)}
        self.process = project.start("-q", "tests", *arguments, program=PLUGGED, env=env, output=subprocess.DEVNULL)

    def holding(self, count: int) -> list[int]:
        """The pids of those whose test holds a database, once there are so many."""
        deadline = time.monotonic() + 60
        while len(found := list(self.mark.parent.glob("mark.*"))) < count:
            assert time.monotonic() < deadline
            assert self.process.poll() is None
            time.sleep(0.01)
        return [int(path.suffix[1:]) for path in found]

    def end(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture
def start(project):
    sessions = []

    def make(*arguments: str) -> Session:
        sessions.append(Session(project, *arguments))
        return sessions[-1]

    yield make
    for session in sessions:
        session.end()


@pytest.mark.parametrize("victim", ["pytest", "broker", "server"])
def test_whoever_is_killed_in_the_middle_of_a_test_the_next_command_finds_nothing(project, start, victim):
    session = start()
    session.holding(1)
    (broker,), (server, *_) = brokers(project), servers(project)
    {"pytest": session.process, "broker": broker, "server": server}[victim].kill()
    if victim != "pytest":
        session.end()
    session.process.wait()
    psutil.wait_procs([broker], 20)
    project.run("list")
    project.auditor().assert_nothing(within=5.0)
    project.write({"tests/test_db.py": TESTS})
    assert outcomes(plain(project)) == "13 passed"
    project.auditor().assert_nothing(within=5.0)


def test_what_a_killed_worker_held_is_taken_back_while_the_others_go_on(project, start):
    import psycopg

    session = start("-n", "2", "--max-worker-restart", "0")
    pids = session.holding(2)
    lost, kept = (Path(f"{session.mark}.{pid}").read_text() for pid in pids)
    os.kill(pids[0], signal.SIGKILL)
    deadline = time.monotonic() + 20
    with psycopg.connect(kept) as other:
        while other.execute("SELECT 1 FROM pg_database WHERE datname = %s", (lost.rpartition("/")[2],)).fetchone():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert other.execute("SELECT count(*) FROM things").fetchone() == (0,)
    session.end()
    project.auditor().assert_nothing(within=5.0)


def test_a_worker_that_outlives_its_pytest_starts_no_broker_that_would_never_end(project):
    project.write({"tests/test_db.py": ORPHAN})
    session = project.start("-q", "tests", "-n", "1", program=PLUGGED, output=subprocess.DEVNULL)
    assert session.wait(60) == -signal.SIGKILL
    until(lambda: not processes_of(project.base))
    project.run("list")
    project.auditor().assert_nothing(within=5.0)


def test_the_broker_prints_where_it_is_and_ends_with_its_session(project):
    with subprocess.Popen(["sleep", "60"]) as session:
        broker = project.start("broker", "--session", str(session.pid))
        assert broker.stdout
        assert "broker.sock" in broker.stdout.readline()
        session.kill()
    assert broker.wait(20) == 0
    broker.communicate()
    assert project.run("broker", "--session", str(session.pid), check=False).returncode == 3
    project.auditor().assert_nothing(within=2.0)
