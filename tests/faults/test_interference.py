"""Eight workers whose tests write the same keys: none meets another, where on one shared database they do.

`ROUNDS=20` sets how often.
"""

from __future__ import annotations

import os
import sys

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.postgres, pytest.mark.timeout(3600)]

ROUNDS = int(os.environ.get("ROUNDS", "1"))
TESTS = 400
PYTEST = (sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:randomly", "-q", "-n", "8", "tests", "-k")
FILES = {
    "schema.sql": "CREATE TABLE things (id serial PRIMARY KEY, name text UNIQUE, n int DEFAULT 0);\n",
    "tests/test_db.py": f"""
import os, time, psycopg, pytest

def work(url):
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("INSERT INTO things (id, name) VALUES (1, 'same')")
        connection.execute("UPDATE things SET n = n + 1")
        time.sleep(0.002)
        assert connection.execute("SELECT id, name, n FROM things").fetchall() == [(1, "same", 1)]
        connection.execute("DELETE FROM things")

@pytest.mark.parametrize("number", range({TESTS}))
def test_own(database, number):
    work(database.url)

@pytest.mark.parametrize("number", range({TESTS}))
def test_shared(number):
    work(os.environ["SHARED"])
""",
}
CONFIG = """
[services.postgres]
migrate = "echo x >> {count}; {psql} --quiet --set ON_ERROR_STOP=1 --file schema.sql"
inputs = ["schema.sql"]
"""


def test_databases_of_their_own_keep_tests_apart_and_are_migrated_once(grove, require_postgres, tmp_path):
    psql, count = require_postgres.bindir / "psql", tmp_path / "migrations"
    if not psql.exists():
        pytest.skip("these PostgreSQL binaries come without psql")
    project = grove(files=FILES, config=CONFIG.format(psql=psql, count=count))
    project.create("review", "shared")
    project.run("db", "create", "review-shared")
    shared = project.run("db", "url", "review-shared").stdout.strip()
    count.unlink()
    failed = 0
    for _ in range(ROUNDS):
        own = project.run("own", program=PYTEST, timeout=600)
        assert f"{TESTS} passed" in own.stdout
        together = project.run("shared", program=PYTEST, env={"SHARED": shared}, timeout=600, check=False)
        failed += "failed" in together.stdout
    assert count.read_text() == "x\n", "it was migrated more than once"
    assert failed >= 0.95 * ROUNDS, f"on one database {ROUNDS - failed} of {ROUNDS} rounds passed"
    project.run("remove", "review-shared")
    project.auditor().assert_no_leftovers(within=5.0)
