"""What goes wrong in a session hits the test in whose middle it happens, with words that say what; the others go on."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Sequence

import pytest

import needs

pytestmark = [pytest.mark.slow, pytest.mark.postgres]

PYTEST = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist")
CONFIG = """
[services.postgres]
migrate = "psql --quiet --set ON_ERROR_STOP=1 --file schema.sql"
inputs = ["schema.sql"]
settings = {{ {settings} }}
"""
SCHEMA = "CREATE TABLE things (name text); INSERT INTO things VALUES ('first');"
GOES_AWAY = """
import os, pathlib, signal, pytest, psycopg

def parent(connection):
    stat = pathlib.Path(f"/proc/{connection.info.backend_pid}/stat").read_text()
    return int(stat.rpartition(")")[2].split()[1])

def write(database):
    with psycopg.connect(database.url) as connection:
        assert connection.execute("SELECT name FROM things").fetchall() == [("first",)]
        connection.execute("INSERT INTO things VALUES ('same')")

@pytest.mark.parametrize("number", range(3))
def test_before(database, number):
    write(database)

def test_hit(database):
    with psycopg.connect(database.url) as connection:
        os.kill(parent(connection), signal.SIGKILL)
        while connection.execute("SELECT pg_sleep(0.01)"):
            pass

@pytest.mark.parametrize("database", ["clone", "reset", "clone", "reset"], indirect=True)
def test_after(database):
    write(database)
"""
IN_A_RUN = f"""{GOES_AWAY}
def test_dead(database_url):
    psycopg.connect(database_url)
"""
SUITES = """
[suites.hit]
command = "pytest -q tests"
services = ["postgres"]
retries = 0
[suites.next]
command = "pytest -q next"
services = ["postgres"]
retries = 0
"""
NEXT = """
import psycopg

def test_it(database, database_url):
    for url in (database.url, database_url):
        psycopg.connect(url).close()
"""
MIGRATIONS = """
import psutil, pytest, psycopg

def test_hit(migrations):
    migrations.upgrade()
    with psycopg.connect(migrations.url) as connection:
        psutil.Process(connection.info.backend_pid).parent().kill()
    migrations.schema()

@pytest.mark.parametrize("number", range(2))
def test_after(migrations, number):
    empty = migrations.schema()
    migrations.upgrade()
    assert migrations.schema() != empty
"""
CONNECTIONS = """
import time, pytest, psycopg

held = []

def test_hit(database):
    while True:
        held.append(psycopg.connect(database.url))

def test_meanwhile(database):
    # Those that it left are ended while this one runs already.
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            return psycopg.connect(database.url).close()
        except psycopg.OperationalError:
            time.sleep(0.01)
    raise AssertionError("they stay")

@pytest.mark.parametrize("number", range(4))
def test_after(database, number):
    psycopg.connect(database.url).close()
"""
FULL = """
import os, shutil, pathlib, threading, time, pytest, psycopg

FILLER = pathlib.Path(os.environ["TESTGROVE_SCRATCH_DIR"], "filler")
done = threading.Event()

def fill():
    # What a dropped database leaves is taken at once; the server needs a little for its log.
    with FILLER.open("wb") as file:
        while not done.is_set():
            if shutil.disk_usage(FILLER).free > 4 << 20:
                file.write(bytes(1 << 16))
                file.flush()
            else:
                time.sleep(0.001)

thread = threading.Thread(target=fill)

def test_begin(database):
    psycopg.connect(database.url).close()
    thread.start()
    while shutil.disk_usage(FILLER.parent).free > 4 << 20:
        time.sleep(0.001)

@pytest.mark.parametrize("number", range(12))
def test_full(database, number): ...

def test_room():
    done.set()
    thread.join()
    FILLER.unlink()

@pytest.mark.parametrize("number", range(4))
def test_after(database, number):
    with psycopg.connect(database.url) as connection:
        assert connection.execute("SELECT name FROM things").fetchall() == [("first",)]
"""


@pytest.fixture
def project(grove, require_postgres):
    if shutil.which("psql") is None:
        pytest.skip("there is no psql on the PATH")

    def make(tests: str, settings: str = ""):
        return grove(files={"schema.sql": SCHEMA, "tests/test_it.py": tests}, config=CONFIG.format(settings=settings))

    return make


def run(project, program: Sequence[str] = PYTEST) -> subprocess.CompletedProcess[str]:
    done = project.run("tests", program=program, check=False, timeout=200)
    project.auditor().assert_nothing(within=5.0)
    return done


def outcomes(done) -> str:
    return re.sub(r" in .*", "", done.stdout.strip().splitlines()[-1])


def failed(done) -> list[str]:
    return sorted(re.findall(r"^(?:FAILED|ERROR) \S+::(\S+)", done.stdout, re.MULTILINE))


def test_a_server_that_goes_away_hits_the_test_that_used_it(project):
    done = run(project(GOES_AWAY))
    assert outcomes(done) == "1 failed, 7 passed", done.stdout + done.stderr
    assert failed(done) == ["test_hit"]
    assert "terminating connection" in done.stdout or "server closed the connection" in done.stdout


def test_so_it_is_in_a_run_but_for_what_the_environment_names(project):
    made = project(IN_A_RUN)
    config = (made.repo / "testgrove.toml").read_text() + SUITES
    files = {"testgrove.toml": config, "requirements.txt": "pytest\npsycopg[binary]\n", "next/test_next.py": NEXT}
    made.write(files, commit="Suites")
    done = made.run("test", "hit", "next", "-j", "1", check=False, timeout=200)
    said = done.stdout + done.stderr
    assert done.returncode == 1, said
    logs = {log.parent.name: log for log in made.runs()[-1].glob("*/output.log")}
    assert "1 passed" in next(log for name, log in logs.items() if "next" in name).read_text(), said
    log = next(log for name, log in logs.items() if "hit" in name)
    assert "2 failed, 7 passed" in log.read_text(), log.read_text()
    assert re.findall(r"^FAILED \S+::(\S+)", log.read_text(), re.MULTILINE) == ["test_hit", "test_dead"]
    assert "$DATABASE_URL stopped answering" in " ".join(said.split()), said
    made.auditor().assert_no_leftovers(within=5.0)
    assert made.run("test", "hit", "--", "-k", "before", check=False, timeout=200).returncode == 0


def test_so_it_is_with_tests_of_migrations(project):
    made = project(MIGRATIONS)
    made.write({"0001_things.up.sql": SCHEMA})
    made.write({"testgrove.toml": (made.repo / "testgrove.toml").read_text().replace('["schema.sql"]', '["0*.sql"]')})
    done = run(made)
    assert outcomes(done) == "1 failed, 2 passed", done.stdout + done.stderr
    assert failed(done) == ["test_hit"]
    assert "cannot read the schema of" in done.stdout


def test_too_many_connections_hit_the_test_that_made_them(project):
    done = run(project(CONNECTIONS, 'max_connections = "20"'))
    assert outcomes(done) == "1 failed, 5 passed", done.stdout + done.stderr
    assert failed(done) == ["test_hit"]
    assert "remaining connection slots" in done.stdout or "too many clients" in done.stdout


def test_a_full_disk_hits_those_who_need_a_clone_meanwhile(project):
    own = needs.mount_namespace()
    # Where there is no room in memory, data lies in the scratch folder.
    small = "mount -t tmpfs -o size=128m,mode=700 none"
    mount = (
        f'{small} /dev/shm && mkdir -p "$TESTGROVE_SCRATCH_DIR" && {small} "$TESTGROVE_SCRATCH_DIR" || exit 99; "$@"'
    )
    done = run(project(FULL), (*own, "sh", "-c", mount, "sh", *PYTEST))
    assert failed(done), done.stdout + done.stderr
    assert all(name.startswith("test_full") for name in failed(done)), done.stdout
    assert "No space left on device" in done.stdout
    assert "df -h" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
