"""Plain pytest, and `testgrove test`, with a Redis for every worker and an SQLite file for every test."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time

import psutil
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.redis]

PLUGGED = (sys.executable, "-m", "pytest", "-p", "no:cacheprovider")
CONFIG = """
[services.redis]
[services.sqlite]
migrate = "echo x >> {count}; python migrate.py"
inputs = ["migrate.py"]
[suites.own]
command = "pytest -q -n 2 runs"
services = ["redis", "sqlite"]
[suites.without]
command = "pytest -q runs"
services = ["sqlite"]
"""
MIGRATE = """
import os, sqlite3
database = sqlite3.connect(os.environ["SQLITE_PATH"])
database.executescript("PRAGMA journal_mode = WAL; CREATE TABLE things (id INTEGER PRIMARY KEY, name TEXT UNIQUE)")
database.execute("INSERT INTO things (name) VALUES ('first')")
database.commit()
"""
ASKS = r'''
import os, pathlib, socket, sqlite3, pytest
from urllib.parse import urlsplit

def ask(url, *commands):
    """The driver is not in every environment."""
    at = urlsplit(url)
    with socket.create_connection((at.hostname, at.port), timeout=20) as connection:
        return say(connection, f"AUTH {at.password}", *commands)

def say(connection, *commands):
    connection.sendall("".join(f"{command}\r\n" for command in (*commands, "ECHO the-end")).encode())
    answer = ""
    while not answer.endswith("the-end\r\n"):
        data = connection.recv(65536).decode()
        assert data, 'it has hung up'
        answer += data
    return [line for line in answer.split("\r\n")[:-3] if line[:1] != "$"]

@pytest.fixture(scope="session")
def mine(redis_url, redis_socket):
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(redis_socket)
        say(connection, f"AUTH {urlsplit(redis_url).password}")
        yield connection
'''
TESTS = (
    ASKS
    + """
@pytest.mark.parametrize("number", range(12))
def test_redis(redis_url, mine, number):
    assert ask(redis_url, "DBSIZE") == ["+OK", ":0"]
    assert "+OK" in ask(redis_url, "SET same 1 NX")
    assert say(mine, "GET same") == ["1"]
    assert ask(redis_url, "EXISTS same") == ["+OK", ":1"]
    with open(USED, "a") as file:
        file.write(f"{os.getpid()} {redis_url}\\n")

@pytest.mark.parametrize("number", range(4))
def test_sqlite(sqlite_path, number):
    database = sqlite3.connect(sqlite_path)
    assert database.execute("SELECT name FROM things").fetchall() == [("first",)]
    with database:
        assert database.execute("INSERT INTO things (name) VALUES ('same')").lastrowid == 2
    (sqlite_path.parent / "beside").touch()
"""
)


@pytest.fixture
def project(grove, require_redis):
    made = grove(files={"migrate.py": MIGRATE, "requirements.txt": "pytest\npytest-xdist\n"})
    made.write({"runs/test_run.py": named(TESTS, made), "tests/test_own.py": named(TESTS, made)}, commit="Tests")
    text = CONFIG.format(count=made.base / "migrations")
    made.write({"testgrove.toml": text + (made.repo / "testgrove.toml").read_text()}, commit="Services")
    return made


def named(text: str, project) -> str:
    return text.replace("USED", repr(str(project.base / "used")))


def plain(project, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return project.run("-q", "tests", *arguments, program=PLUGGED, env=env, check=False)


def used(project) -> dict[str, set[str]]:
    """The URLs that each process was given."""
    found: dict[str, set[str]] = {}
    for line in (project.base / "used").read_text().splitlines():
        pid, url = line.split()
        found.setdefault(pid, set()).add(url)
    return found


def outcomes(done) -> str:
    return re.sub(r" in .*", "", done.stdout.strip().splitlines()[-1])


@pytest.mark.parametrize("workers", [0, 3])
def test_every_worker_has_a_redis_of_its_own_and_every_test_a_file(project, workers):
    done = plain(project, *(("-n", str(workers), "--dist", "worksteal") if workers else ("-p", "no:xdist")))
    assert outcomes(done) == "16 passed", done.stdout + done.stderr
    urls = used(project)
    assert all(len(of_one) == 1 for of_one in urls.values())
    assert len({url for of_one in urls.values() for url in of_one}) == len(urls) <= max(workers, 1)
    assert (project.base / "migrations").read_text() == "x\n"
    project.auditor().assert_nothing(within=5.0)


def test_a_run_gives_its_suites_workers_the_same(project):
    done = project.run("test", "own")
    assert "16 passed" in done.stderr + done.stdout
    urls = {url for of_one in used(project).values() for url in of_one}
    assert len(urls) == len(used(project))
    assert (project.base / "migrations").read_text() == "x\n"
    project.auditor().assert_no_leftovers(within=2.0)


def test_a_suite_without_redis_says_what_it_lacks(project):
    assert project.run("test", "without", check=False).returncode == 1
    (log,) = project.runs()[-1].glob("*/output.log")
    assert 'services = ["redis"]' in log.read_text()
    assert "4 passed" in log.read_text()


def test_a_service_that_is_not_declared_is_an_error_that_names_the_table(project):
    project.write({"testgrove.toml": "[services.sqlite]\n"})
    assert "[services.redis]" in plain(project, "-k", "redis").stdout
    project.write({"testgrove.toml": ""})
    assert "[services.postgres]" in plain(project, "-k", "redis").stdout


WAITS = (
    ASKS
    + """
def test_it(mine, sqlite_path):
    say(mine, "SET a 1")
    pathlib.Path(USED).touch()
    while True:
        assert say(mine, "PING") == ["+PONG"]
"""
)


@pytest.mark.parametrize("victim", ["pytest", "broker", "redis"])
def test_whoever_is_killed_in_the_middle_of_a_test_the_next_command_finds_nothing(project, victim):
    project.write({"tests/test_own.py": named(WAITS, project)})
    session = project.start("-q", "tests", program=PLUGGED, output=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while not (project.base / "used").exists():
            assert time.monotonic() < deadline
            assert session.poll() is None
            time.sleep(0.01)
        broker = next(process for process in psutil.process_iter() if _is_broker(process, project))
        (server,) = [each for each in broker.children(recursive=True) if each.name().endswith("-server")]
        {"pytest": session, "broker": broker, "redis": server}[victim].kill()
        if victim != "pytest":
            assert session.wait(60) == 1  # the connection was closed on the test
        session.wait()
        psutil.wait_procs([broker, server], 20)
    finally:
        if session.poll() is None:
            os.killpg(session.pid, signal.SIGKILL)
            session.wait()
    project.run("list")
    project.auditor().assert_nothing(within=5.0)
    project.write({"tests/test_own.py": named(TESTS, project)})
    assert outcomes(plain(project)) == "16 passed"


def _is_broker(process: psutil.Process, project) -> bool:
    try:
        return "broker" in process.cmdline() and str(project.repo) in process.cmdline()
    except psutil.Error:
        return False
