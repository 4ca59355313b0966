"""A database for every test, beside the peers: `python -m benchmarks.fresh_peers [--tests N] [--rounds N] [PEER…]`.

The same schema (40 tables, 160 indexes, 2,000 rows), the same tests, durability off and the data in memory for all, one
run. Each test connects to its database (but for `rollback`, which cannot) and writes to two tables; a round runs every
peer once. Milliseconds are for each test, the first not counted; *above* is what is more than without a database.

testgrove and testgrove-reset start their own server. The others meet a running one, with what clones are made of:

- pytest-postgresql, from PyPI; integresql and pgtestdb, built from the Go module proxy into the folder of the
  measurement (pgtestdb's tests are a Go program, so its figure has no pytest in it);
- naive: CREATE DATABASE … TEMPLATE, connect, DROP … WITH (FORCE), in a fixture of ten lines;
- connecting: one database, a connection for each test, and what it writes rolled back: the floor of tests that connect;
- rollback: one database, one connection, an outer transaction that is rolled back: the floor, which isolates rows only.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks import fresh
from benchmarks.grove import Grove
from benchmarks.peers import PeerServer, peer_server
from benchmarks.projects import HERE, UV, environment
from benchmarks.results import machine

VERSIONS = ("pytest", "psycopg[binary]", "pytest-postgresql")
GO_VERSIONS = ("github.com/peterldowns/pgtestdb@v0.1.1", "github.com/jackc/pgx/v5/stdlib@v5.7.1")
GO_SERVER = "github.com/allaboutapps/integresql"
GO_SERVER_VERSION = "v1.1.0"
TESTS = """
import os, time, pytest
SECONDS = float(os.environ["SECONDS_EACH"])

@pytest.mark.parametrize("n", range(int(os.environ["TESTS"])))
def test_it(connection, n):
    if connection is not None:
        number = connection.execute("INSERT INTO t1 (name) VALUES ('x') RETURNING id").fetchone()
        assert number == (51,) or connection.info.dbname == "bench_rollback"  # which does not put sequences back
        connection.execute("UPDATE t2 SET other = 0 WHERE id = 7")
    if SECONDS:
        time.sleep(SECONDS)
"""
SPANS = """
import json, os, time, pytest
ends = []

@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_runtest_protocol(item):
    yield
    ends.append(time.perf_counter())

def pytest_sessionfinish(session):
    with open(os.environ["OUT"], "w") as file:
        json.dump(ends, file)
"""
FIXTURES = {
    "none": """
@pytest.fixture
def connection():
    return None
""",
    "testgrove": """
import psycopg

@pytest.fixture
def connection(database):
    with psycopg.connect(database.url, autocommit=True) as connection:
        yield connection
""",
    "pytest-postgresql": """
from pathlib import Path
from pytest_postgresql import factories
server = factories.postgresql_noproc(
    host="127.0.0.1", port=int(os.environ["PGPORT"]), user="postgres", load=[Path("schema.sql").resolve()]
)
postgresql = factories.postgresql("server")

@pytest.fixture
def connection(postgresql):
    postgresql.autocommit = True
    return postgresql
""",
    "integresql": """
import http.client, psycopg
api = http.client.HTTPConnection("127.0.0.1", int(os.environ["INTEGRESQL_PORT"]))

@pytest.fixture
def connection():
    api.request("GET", "/api/v1/templates/bench/tests")
    found = json.loads(api.getresponse().read())
    where = found["database"]["config"]
    words = dict(host=where["host"], port=where["port"], user=where["username"], dbname=where["database"])
    with psycopg.connect(**words, autocommit=True) as connection:
        yield connection
    api.request("POST", f"/api/v1/templates/bench/tests/{found['id']}/recreate")
    api.getresponse().read()
""",
    "naive": """
import psycopg

@pytest.fixture(scope="session")
def admin():
    with psycopg.connect(host="127.0.0.1", user="postgres", dbname="postgres", autocommit=True) as admin:
        yield admin

@pytest.fixture
def connection(admin):
    admin.execute("CREATE DATABASE naive TEMPLATE bench")
    with psycopg.connect(host="127.0.0.1", user="postgres", dbname="naive", autocommit=True) as connection:
        yield connection
    admin.execute("DROP DATABASE naive WITH (FORCE)")
""",
    "connecting": """
import psycopg

@pytest.fixture
def connection():
    words = dict(host="127.0.0.1", user="postgres", dbname="bench_rollback", autocommit=True)
    with psycopg.connect(**words) as connection, connection.transaction(force_rollback=True):
        yield connection
""",
    "rollback": """
import psycopg

@pytest.fixture(scope="session")
def one():
    with psycopg.connect(host="127.0.0.1", user="postgres", dbname="bench_rollback", autocommit=True) as one:
        yield one

@pytest.fixture
def connection(one):
    with one.transaction(force_rollback=True):
        yield one
""",
}
PLUGINS = {"testgrove": "pytest_testgrove", "pytest-postgresql": "pytest_postgresql.plugin"}
GO_TESTS = """
package bench

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/peterldowns/pgtestdb"
)

type migrator struct{}

func (migrator) Hash() (string, error) { return "bench", nil }
func (migrator) Migrate(ctx context.Context, db *sql.DB, _ pgtestdb.Config) error {
	text, err := os.ReadFile("schema.sql")
	if err != nil {
		return err
	}
	_, err = db.ExecContext(ctx, string(text))
	return err
}

func TestAll(t *testing.T) {
	count, _ := strconv.Atoi(os.Getenv("TESTS"))
	seconds, _ := strconv.ParseFloat(os.Getenv("SECONDS_EACH"), 64)
	config := pgtestdb.Config{DriverName: "pgx", Host: "127.0.0.1", Port: os.Getenv("PGPORT"), User: "postgres",
		Password: "x", Database: "postgres", Options: "sslmode=disable"}
	var first, last time.Time
	for n := 0; n < count; n++ {
		t.Run(strconv.Itoa(n), func(t *testing.T) {
			db := pgtestdb.New(t, config, migrator{})
			var id int
			if err := db.QueryRow("INSERT INTO t1 (name) VALUES ('x') RETURNING id").Scan(&id); err != nil || id != 51 {
				t.Fatal(err, id)
			}
			if _, err := db.Exec("UPDATE t2 SET other = 0 WHERE id = 7"); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Duration(seconds * float64(time.Second)))
		})
		last = time.Now()
		if n == 0 {
			first = last
		}
	}
	fmt.Println("EACH", last.Sub(first).Seconds()*1000/float64(count-1))
}
"""
PEERS = (
    "testgrove",
    "testgrove-reset",
    "pytest-postgresql",
    "pgtestdb",
    "integresql",
    "naive",
    "connecting",
    "rollback",
)


def install(work: Path, wanted: list[str]) -> None:
    """The peers' own environment and programs."""
    uv = environment(UV_PYTHON=sys.executable)
    subprocess.run((UV, "venv", "-q", work / "venv"), check=True, env=uv)
    words = (
        "pip",
        "install",
        "-q",
        "--python",
        work / "venv/bin/python",
        *VERSIONS,
        HERE / "packages/pytest-testgrove",
    )
    subprocess.run((UV, *words), check=True, env=uv)
    go = work / "go"
    go.mkdir()
    if {"pgtestdb", "integresql"}.intersection(wanted):
        # By version: the proxy lists none.
        for words in (("mod", "init", "bench"), ("get", *GO_VERSIONS, f"{GO_SERVER}/cmd/server@{GO_SERVER_VERSION}")):
            subprocess.run(("go", *words), cwd=go, check=True, capture_output=True)
        (go / "bench_test.go").write_text(GO_TESTS)
        (go / "schema.sql").write_text(fresh.SCHEMA)
        for words in (("build", "-o", "integresql", f"{GO_SERVER}/cmd/server"), ("test", "-c", "-o", "pgtestdb")):
            subprocess.run(("go", *words), cwd=go, check=True)


@contextmanager
def integresql(work: Path, server: PeerServer) -> Iterator[str]:
    """Its server, with a template of the schema. Its port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    where = {"INTEGRESQL_PGHOST": "127.0.0.1", "INTEGRESQL_PORT": port, "INTEGRESQL_ADDRESS": "127.0.0.1"}
    with (work / "integresql.log").open("wb") as log:
        argv = (work / "go/integresql",)
        process = subprocess.Popen(argv, stdout=log, stderr=log, env=environment(**server.env, **where))
    try:
        base = f"http://127.0.0.1:{port}/api/v1/templates"
        template = _asked(base, "POST", {"hash": "bench"})["database"]["config"]["database"]
        server.client("psql", "-q", "-f", str(work / "go/schema.sql"), template)
        _asked(f"{base}/bench", "PUT", None)
        yield port
    finally:
        process.terminate()
        process.wait()


def _asked(url: str, method: str, body: object) -> dict[str, dict[str, dict[str, str]]]:
    data = json.dumps(body).encode() if body else None
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
    deadline = time.monotonic() + 10
    while True:
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.loads(answer.read() or b"{}")
        except ConnectionRefusedError:
            raise
        except OSError as error:
            if "refused" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def measure(peer: str, work: Path, project: Path, env: dict[str, str]) -> float:
    """Milliseconds a test."""
    if peer == "pgtestdb":
        argv = (work / "go/pgtestdb", "-test.run", "TestAll")
        done = subprocess.run(argv, cwd=work / "go", env=env, text=True, capture_output=True, check=False)
        found = re.search(r"EACH ([\d.]+)", done.stdout)
        if done.returncode or not found:
            raise SystemExit(done.stdout[-3000:] + done.stderr)
        return float(found.group(1))
    kind, _, isolation = peer.partition("-") if peer.startswith("testgrove") else (peer, "", "")
    (project / "tests/conftest.py").write_text(SPANS + FIXTURES[kind])
    words = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"]
    words += ["-p", PLUGINS[kind]] if kind in PLUGINS else []
    words += ["-o", f"testgrove_database_isolation={isolation}"] if isolation else []
    argv = (work / "venv/bin/python", *words)
    done = subprocess.run(argv, cwd=project, env=env, text=True, capture_output=True, check=False)
    if done.returncode:
        raise SystemExit(done.stdout[-3000:] + done.stderr)
    ends = json.loads(Path(env["OUT"]).read_text())
    return (ends[-1] - ends[0]) / (len(ends) - 1) * 1000


def main() -> None:
    """Measure and print."""
    about = "A database for every test, beside the peers."
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fresh_peers", description=about)
    parser.add_argument("peers", nargs="*", metavar="PEER", help=f"of {', '.join(PEERS)} (all)")
    parser.add_argument("--tests", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    peers = chosen.peers or list(PEERS)
    if unknown := set(peers) - set(PEERS):
        parser.error(f"there is no {', '.join(unknown)}")
    print(machine())
    work = Path(tempfile.mkdtemp(prefix="tgb-", dir="/tmp"))
    work.chmod(0o755)
    grove = Grove(work)
    try:
        install(work, peers)
        project = fresh.make(work)
        (project / "tests/test_it.py").write_text(TESTS)
        with peer_server(work) as server, integresql(work, server) if "integresql" in peers else _nothing() as port:
            for name in ("bench", "bench_rollback"):
                server.client("createdb", name)
                server.client("psql", "-q", "-f", str(project / "schema.sql"), name)
            env = environment(**server.env, INTEGRESQL_PORT=port) | grove.env
            env |= {"OUT": str(work / "out.json"), "TESTGROVE": grove.program, "PYTHONDONTWRITEBYTECODE": "1"}
            env |= {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
            measure("testgrove", work, project, env | {"TESTS": "2", "SECONDS_EACH": "0"})  # the template is built
            for seconds in (0.025, 0.0):
                rounds: dict[str, list[float]] = {peer: [] for peer in ("none", *peers)}
                for _ in range(chosen.rounds):
                    for peer, found in rounds.items():
                        more = {"TESTS": str(chosen.tests + 1), "SECONDS_EACH": str(seconds)}
                        found.append(measure(peer, work, project, env | more))
                show(seconds, rounds)
    finally:
        shutil.rmtree(work)
        shutil.rmtree(Path("/dev/shm") / Grove.scratch_of(work).name, ignore_errors=True)


@contextmanager
def _nothing() -> Iterator[str]:
    yield ""


def show(seconds: float, rounds: dict[str, list[float]]) -> None:
    """A line for each peer."""
    none = rounds.pop("none")
    above = {peer: [each - less for each, less in zip(found, none, strict=True)] for peer, found in rounds.items()}
    print(f"\ntests of {seconds * 1000:g} ms (load {os.getloadavg()[0]:.1f}); without a database {none[0]:.2f} ms")
    for peer, found in above.items():
        line = f"  {peer:18} {statistics.median(rounds[peer]):7.2f} ms a test; above {statistics.median(found):7.2f}"
        line += f" ({min(found):.2f} … {max(found):.2f})"
        if "testgrove" in above and peer != "testgrove":
            ratios = [theirs / mine for theirs, mine in zip(found, above["testgrove"], strict=True)]
            line += f", which is {statistics.median(ratios):.2f} times testgrove's"
        print(line)


if __name__ == "__main__":
    main()
