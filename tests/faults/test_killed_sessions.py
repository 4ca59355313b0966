"""kill -9 in the middle of tests that have databases of their own: nothing is left, and the next session passes.

`KILLS=100` sets how often; each case logs the seed that repeats it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

import users_server
from faults.sweeping import random_source
from grove import Grove, processes_of
from services.cases import until

pytestmark = [pytest.mark.slow, pytest.mark.postgres, pytest.mark.redis, pytest.mark.timeout(3600)]

KILLS = int(os.environ.get("KILLS", "1"))
PYTEST = (sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:randomly", "-q", "-n", "2", "tests")
SCHEMA = "CREATE TABLE things (id serial PRIMARY KEY, name text UNIQUE);\n"
CLONES = """
import os, pathlib, time, psycopg, pytest

@pytest.mark.parametrize("database", ["clone", "reset"] * 12, indirect=True)
def test_it(database):
    with psycopg.connect(database.url) as connection:
        assert connection.execute("INSERT INTO things (name) VALUES ('same') RETURNING id").fetchone() == (1,)
        connection.commit()
        connection.execute("SELECT pg_advisory_lock(1)")
        pathlib.Path(os.environ["MARK"]).touch()
        time.sleep(0.03)
"""
POSTGRES = """
[services.postgres]
{host}
migrate = "{psql} --quiet --set ON_ERROR_STOP=1 --file schema.sql"
inputs = ["schema.sql"]
"""
STEPS = {
    "sql/0001_things.up.sql": "CREATE TABLE things (id int PRIMARY KEY);",
    "sql/0001_things.down.sql": "DROP TABLE things;",
    "sql/0002_name.up.sql": "ALTER TABLE things ADD COLUMN name text;",
    "sql/0002_name.down.sql": "ALTER TABLE things DROP COLUMN name;",
}
MIGRATIONS = """
import os, pathlib, pytest

@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize("migrations", ["postgres", "sqlite"], indirect=True)
def test_it(migrations, number):
    empty = migrations.schema()
    pathlib.Path(os.environ["MARK"]).touch()
    migrations.upgrade()
    assert migrations.schema() != empty
    migrations.downgrade("base")
    assert migrations.schema() == empty
"""
STEP_BY_STEP = """
[services.postgres]
migrate = "steps of their own"
inputs = ["sql/*.sql"]
[services.sqlite]
migrate = "steps of their own"
inputs = ["sql/*.sql"]
"""
REDIS = """
import os, pathlib, socket, time, pytest
from urllib.parse import urlsplit

def ask(connection, line):
    connection.sendall(line.encode() + b"\\r\\n")
    answer = connection.recv(1000)
    assert answer, "it has hung up"
    return answer

@pytest.mark.parametrize("number", range(24))
def test_it(redis_url, number):
    at = urlsplit(redis_url)
    with socket.create_connection((at.hostname, at.port), timeout=20) as connection:
        assert ask(connection, f"AUTH {at.password}") == b"+OK\\r\\n"
        assert ask(connection, "INCR same") == b":1\\r\\n"
        pathlib.Path(os.environ["MARK"]).touch()
        time.sleep(0.03)
        assert ask(connection, "GET same") == b"$1\\r\\n1\\r\\n"
"""
FILES = """
import os, pathlib, sqlite3, time, pytest

@pytest.mark.parametrize("number", range(24))
def test_it(sqlite_path, number):
    database = sqlite3.connect(sqlite_path)
    with database:
        assert database.execute("INSERT INTO things (name) VALUES ('same')").lastrowid == 1
    (sqlite_path.parent / "beside").touch()
    pathlib.Path(os.environ["MARK"]).touch()
    time.sleep(0.03)
"""
SQLITE = """
[services.sqlite]
migrate = "{python} migrate.py"
inputs = ["migrate.py"]
"""
MIGRATE = """
import os, sqlite3
database = sqlite3.connect(os.environ["SQLITE_PATH"])
database.executescript("PRAGMA journal_mode = WAL; CREATE TABLE things (id INTEGER PRIMARY KEY, name TEXT UNIQUE)")
"""


@dataclass(frozen=True)
class Kind:
    """What the tests of a session have: the project's files and settings, and how many tests pass."""

    tests: str
    config: str
    passes: int = 24
    files: dict[str, str] = field(default_factory=dict)


KINDS = {
    "postgres": Kind(CLONES, POSTGRES, files={"schema.sql": SCHEMA}),
    "users-postgres": Kind(CLONES, POSTGRES, files={"schema.sql": SCHEMA}),
    "migrations": Kind(MIGRATIONS, STEP_BY_STEP, passes=8, files=STEPS),
    "redis": Kind(REDIS, "[services.redis]\n"),
    "sqlite": Kind(FILES, SQLITE, files={"migrate.py": MIGRATE}),
}


class Users:
    """A PostgreSQL of the user's, with databases that are theirs, and one of a name that ours have, too."""

    def __init__(self, server: users_server.UsersPostgres) -> None:
        self.server = server
        server.clear()
        for name in ("shop", "testdb_unit_x", "testgrove_pool_of_mine"):
            server.sql(f"CREATE DATABASE {name} OWNER ci")
            server.sql(f"CREATE TABLE notes AS SELECT '{name}' AS text", database=name)
        self._before = set[str]()

    def remember(self) -> None:
        """What is there now, a template of ours among it, is to be there afterwards."""
        until(lambda: self.server.locks() == 0)
        assert len(self.server.templates()) == 1
        self._before = self.server.databases()

    def assert_untouched(self) -> None:
        assert self.server.databases() == self._before
        assert self.server.locks() == 0
        for name in ("shop", "testdb_unit_x", "testgrove_pool_of_mine"):
            assert self.server.sql("SELECT text FROM notes", database=name) == [(name,)]


@pytest.fixture(scope="module")
def running(require_postgres) -> Iterator[users_server.UsersPostgres]:
    with users_server.users_postgres(require_postgres) as server:
        yield server


@pytest.fixture
def kind(request) -> str:
    return str(request.param)


@pytest.fixture
def users(kind, request) -> Users | None:
    """Where the tests' databases lie on a server of the user's."""
    return Users(request.getfixturevalue("running")) if kind == "users-postgres" else None


@pytest.fixture
def project(kind, grove, users, require_postgres, require_redis) -> Grove:
    psql = require_postgres.bindir / "psql"
    if not psql.exists():
        pytest.skip("these PostgreSQL binaries come without psql")
    host = f'host = "{users.server.url}"' if users else ""
    found = KINDS[kind]
    made: Grove = grove(
        files=found.files | {"tests/test_it.py": found.tests},
        config=found.config.format(psql=psql, host=host, python=sys.executable),
    )
    return made


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
    return [each for each in below if _is_server(_cmdline(each))]


def _is_server(words: list[str]) -> bool:
    if not words:
        return False
    return ("-D" in words and "postgres" in words[0]) or words[0].partition(" ")[0].endswith("-server")


def _cmdline(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:  # backends come and go
        return []


VICTIMS: dict[str, Callable[[psutil.Process], list[psutil.Process]]] = {
    "worker": worker, "controller": controller, "broker": broker, "server": server,
}  # fmt: skip
CASES = [(kind, victim) for kind in KINDS for victim in VICTIMS if (kind, victim) != ("sqlite", "server")]


@pytest.mark.parametrize(("kind", "victim"), CASES, ids=["-".join(case) for case in CASES], indirect=["kind"])
def test_killed_in_the_middle_of_a_test(kind, victim, project, users, tmp_path):
    source, words = random_source(kind, victim)
    mark, passes = tmp_path / "mark", f"{KINDS[kind].passes} passed"
    whole = project.run(program=PYTEST, env={"MARK": str(mark)})
    assert passes in whole.stdout
    if users:
        users.remember()
    for number in range(KILLS):
        session = begin(project, mark)
        delay = source.uniform(0.0, 0.4)
        time.sleep(delay)
        what = f"kill number {number} of {words}, {delay:.3f} s after the first test had begun"
        if session.poll() is None:
            kill(victim, psutil.Process(session.pid), users, source)
        try:
            out, err = session.communicate(timeout=90)
            if users:
                users.server.start()
            done = project.run("list", check=False)
            assert done.returncode == 0, done.stderr
            project.auditor().assert_nothing(within=5.0)
            until(lambda: not processes_of(project.base))  # a broker goes a moment after its session
            if users:
                users.assert_untouched()
            again = project.run(program=PYTEST, env={"MARK": str(mark)}, check=False)
            assert passes in again.stdout, again.stdout + again.stderr
        except (AssertionError, subprocess.TimeoutExpired) as error:
            error.add_note(f"{what}; the session said: {locals().get('out', '')}{locals().get('err', '')}")
            raise
    project.auditor().assert_nothing(within=5.0)


def kill(victim: str, session: psutil.Process, users: Users | None, source) -> None:
    """One of those that a word stands for, if there is one just now."""
    found = VICTIMS[victim](session)
    if users and victim == "server":
        assert users.server.process
        found = [psutil.Process(users.server.process.pid)]
    if found:
        source.choice(found).kill()
