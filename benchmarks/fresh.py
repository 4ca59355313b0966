"""What a fresh database for every test costs: `python -m benchmarks.fresh [--tests N] [--rounds N]`.

200 tests in plain pytest, each with a database of 40 tables, 160 indexes and 2,000 rows: `clone`, `reset`; the same
tests on one database that all of them `share`; and tests that do nothing with any, `none`. All but the last connect,
and write to two tables. A test takes 25 ms (it sleeps: a core is free for the pool; with --busy it works) or nothing.
Figures are for each test, the first not counted (it starts the server); *hand-out* is the fixture and the connecting.

With --long instead: 5,000 tests that take nothing, `clone`: the last 500 beside the first, the most databases that were
there at once, and the size of one.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.grove import Grove
from benchmarks.projects import PORTS, git
from benchmarks.results import machine
from testgrove.services.engines.postgres.binaries import find_postgres

SCHEMA = "".join(
    f"CREATE TABLE t{n} (id bigserial PRIMARY KEY, name text UNIQUE, other int, at timestamptz DEFAULT now());\n"
    f"CREATE INDEX ON t{n} (other); CREATE INDEX ON t{n} (at);\n"
    f"INSERT INTO t{n} (name, other) SELECT 'row ' || g, g FROM generate_series(1, 50) g;\n"
    for n in range(40)
)
LOOK = "SELECT count(*), pg_database_size(current_database()) FROM pg_database"
CONFTEST = """
import json, os, time, pytest
spans, handed = [], []

@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_fixture_setup(fixturedef):
    began = time.perf_counter()
    yield
    if fixturedef.argname == "database":
        handed.append(time.perf_counter() - began)

@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_runtest_protocol(item):
    began = time.perf_counter()
    yield
    spans.append((began, time.perf_counter()))

def pytest_sessionfinish(session):
    with open(os.environ["OUT"], "w") as file:
        found = {name: getattr(session.config, name, []) for name in ("connects", "looks")}
        json.dump({"spans": spans, "handed": handed, **found}, file)
"""
TESTS = """
import os, time, pytest
SECONDS, BUSY = float(os.environ["SECONDS_EACH"]), os.environ["BUSY"] == "1"
LOOK = os.environ.get("LOOK")

def work():
    end = time.perf_counter() + SECONDS
    while BUSY and time.perf_counter() < end:
        pass
    if not BUSY and SECONDS:
        time.sleep(SECONDS)

if os.environ["KIND"] == "none":
    @pytest.mark.parametrize("n", range(int(os.environ["TESTS"])))
    def test_it(n):
        work()
else:
    import psycopg

    @pytest.fixture(scope="session")
    def connects(pytestconfig):
        pytestconfig.connects = []
        return pytestconfig.connects

    @pytest.fixture(scope="session")
    def looks(pytestconfig):
        pytestconfig.looks = []
        return pytestconfig.looks

    SHARED = os.environ["KIND"] == "share"
    if SHARED:
        @pytest.fixture
        def database(worker_database):
            return worker_database

    @pytest.mark.parametrize("n", range(int(os.environ["TESTS"])))
    def test_it(database, connects, looks, n):
        began = time.perf_counter()
        with psycopg.connect(database.url, autocommit=True) as connection:
            connects.append(time.perf_counter() - began)
            written = connection.execute(f"INSERT INTO t1 (name) VALUES ('x{n}') RETURNING id").fetchone()
            assert written == (51 + n * SHARED,)
            connection.execute("UPDATE t2 SET other = 0 WHERE id = 7")
            if LOOK and n % 50 == 0:
                looks.append(connection.execute(LOOK).fetchone())
        work()
"""


def make(work: Path) -> Path:
    """The project."""
    project = work / "fresh"
    (project / "tests").mkdir(parents=True)
    psql = find_postgres().bindir / "psql"
    migrate = f"{psql if psql.exists() else 'psql'} -q -v ON_ERROR_STOP=1 -f schema.sql"
    config = f'[services.postgres]\nmigrate = "{migrate}"\ninputs = ["schema.sql"]\n' + PORTS.format(prefix="")
    files = {"schema.sql": SCHEMA, "testgrove.toml": config, "pytest.ini": "[pytest]\n"}
    files |= {"tests/conftest.py": CONFTEST, "tests/test_it.py": TESTS}
    for name, text in files.items():
        (project / name).write_text(text)
    git(project, "init", "--quiet")
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "--message", "A project")
    return project


def session(project: Path, grove: Grove, kind: str, tests: int, seconds: float, busy: bool) -> dict[str, list[float]]:
    """Milliseconds of each test, and of each hand-out with its connecting, without the first."""
    found = play(project, grove, kind, tests, seconds, busy)
    spans = found["spans"][1:]
    each = (spans[-1][1] - spans[0][0]) / len(spans) * 1000
    pairs = zip(found["handed"][1:], found["connects"][1:], strict=True)
    return {"each": [each], "hand-out": [(handed + connect) * 1000 for handed, connect in pairs]}


def play(project: Path, grove: Grove, kind: str, tests: int, seconds: float, busy: bool, look: str = "") -> Any:
    """One session of pytest; what its conftest noted. look: a query whose answer is noted now and then."""
    out = project.parent / "out.json"
    env = {**grove.env, "OUT": str(out), "KIND": kind, "TESTS": str(tests + 1), "BUSY": str(int(busy))}
    env |= {"SECONDS_EACH": str(seconds), "TESTGROVE": grove.program, "PYTHONDONTWRITEBYTECODE": "1", "LOOK": look}
    words = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:xdist",
        "-p",
        "no:timeout",
        "tests",
    ]
    words += [] if kind in ("none", "share") else ["-o", f"testgrove_database_isolation={kind}"]
    done = subprocess.run(words, cwd=project, env=env, check=False, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stdout[-3000:] + done.stderr)
    return json.loads(out.read_text())


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fresh", description="Fresh databases for tests.")
    parser.add_argument("--tests", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--busy", action="store_true", help="the 25 ms are CPU")
    parser.add_argument("--long", action="store_true", help="5,000 tests: time, databases and size")
    chosen = parser.parse_args()
    print(machine())
    work = Path(tempfile.mkdtemp(prefix="tgb-", dir="/tmp"))
    grove = Grove(work)
    try:
        project = make(work)
        session(project, grove, "clone", 2, 0, False)  # the template is built
        if chosen.long:
            return show_long(play(project, grove, "clone", 5000, 0, False, LOOK))
        for seconds in (0.025, 0.0):
            rounds: dict[str, list[dict[str, list[float]]]] = {"none": [], "share": [], "clone": [], "reset": []}
            for _ in range(chosen.rounds):
                for kind, found in rounds.items():
                    found.append(session(project, grove, kind, chosen.tests, seconds, chosen.busy))
            show(seconds, rounds)
    finally:
        shutil.rmtree(work)
        shutil.rmtree(Path("/dev/shm") / Grove.scratch_of(work).name, ignore_errors=True)


def show_long(found: Any) -> None:
    """Of a long session: what it should not do is grow."""
    ends = [end for _, end in found["spans"]]
    first, last = (ends[500] - ends[0]) / 500 * 1000, (ends[-1] - ends[-501]) / 500 * 1000
    print(f"the first 500 tests {first:.2f} ms each, the last 500 {last:.2f}: {last / first:.2f} times")
    most, sizes = max(count for count, _ in found["looks"]), [size / 1e6 for _, size in found["looks"]]
    print(
        f"at most {most} databases at once, the server's own four included; one takes {statistics.median(sizes):.1f} MB"
    )


def show(seconds: float, rounds: dict[str, list[dict[str, list[float]]]]) -> None:
    """A line for each kind."""
    each = {kind: [one["each"][0] for one in found] for kind, found in rounds.items()}
    print(
        f"\ntests of {seconds * 1000:g} ms (load {os.getloadavg()[0]:.1f}); without a database {each['none'][0]:.2f} ms"
    )
    for kind in ("share", "clone", "reset"):
        above = [one - less for one, less in zip(each[kind], each["none"], strict=True)]
        more = [one - less for one, less in zip(each[kind], each["share"], strict=True)]
        handed = sorted(value for found in rounds[kind] for value in found["hand-out"])
        print(
            f"  {kind:6} {statistics.median(above):6.2f} ms a test above ({min(above):.2f} … {max(above):.2f});"
            f" above share {statistics.median(more):.2f} ({min(more):.2f} … {max(more):.2f});"
            f"  hand-out median {statistics.median(handed):.2f}, 95th {handed[int(len(handed) * 0.95)]:.2f} ms"
        )


if __name__ == "__main__":
    main()
