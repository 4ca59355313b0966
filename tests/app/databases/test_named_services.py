"""Several services of one engine in one project, each with its migration, its template and its variables."""

from __future__ import annotations

import json
import sys

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.postgres, pytest.mark.redis]

PLUGGED = (sys.executable, "-m", "pytest", "-p", "no:cacheprovider")
CONFIG = """
[services.shop]
engine = "postgres"
default = true
migrate = "{psql} -q -v ON_ERROR_STOP=1 -f shop.sql"
inputs = ["shop.sql"]
[services.analytics]
engine = "postgres"
migrate = "{psql} -q -v ON_ERROR_STOP=1 -f analytics.sql && test $DATABASE_URL = $ANALYTICS_URL"
inputs = ["analytics.sql"]
[services.redis]
[services.queue]
engine = "redis"
[suites.unit]
command = "pytest tests"
services = ["shop", "analytics", "redis", "queue"]
"""
TESTS = """
import os, psycopg, pytest, redis

def tables(url):
    with psycopg.connect(url) as connection:
        rows = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1").fetchall()
        return [name for (name,) in rows]

@pytest.mark.skipif("ANALYTICS_URL" not in os.environ, reason="only in a worktree")
def test_the_worktree_has_one_of_each():
    assert os.environ["DATABASE_URL"] == os.environ["SHOP_URL"] != os.environ["ANALYTICS_URL"]
    assert tables(os.environ["SHOP_URL"]) == ["things"]
    assert tables(os.environ["ANALYTICS_URL"]) == ["facts"]
    assert redis.Redis.from_url(os.environ["REDIS_URL"]).set("a", 1)
    assert redis.Redis.from_url(os.environ["QUEUE_URL"]).dbsize() == 0

@pytest.mark.parametrize("number", range(3))
def test_a_test_has_one_of_each(testgrove_service, testgrove_database, testgrove_redis_url, number):
    assert tables(testgrove_database.url) == ["things"]
    facts = testgrove_service("analytics").url
    assert tables(facts) == ["facts"]
    with psycopg.connect(facts, autocommit=True) as connection:
        connection.execute("CREATE TABLE mine (n int)")
    assert testgrove_service("queue").url != testgrove_redis_url
    assert redis.Redis.from_url(testgrove_service("queue").url).dbsize() == 0
"""


@pytest.fixture
def project(grove, require_postgres, require_redis):
    psql = require_postgres.bindir / "psql"
    if not psql.exists():
        pytest.skip("these PostgreSQL binaries come without psql")
    files = {
        "shop.sql": "CREATE TABLE things (n int);\n",
        "analytics.sql": "CREATE TABLE facts (n int);\n",
        "tests/test_it.py": TESTS,
        "requirements.txt": "pytest\npytest-xdist\npsycopg[binary]\nredis\n",
    }
    return grove(files=files, config=CONFIG.format(psql=psql))


def test_cells_and_tests_have_one_of_each(project):
    project.run("test")
    done = project.run("-q", "tests", "-n", "2", program=PLUGGED, check=False)
    assert "3 passed, 1 skipped" in done.stdout, done.stdout + done.stderr
    project.auditor().assert_no_leftovers(within=5.0)


def test_commands_work_on_one_of_them(project):
    project.run("create", "--purpose", "test-unit", "--identifier", "a", "--branch", "HEAD")

    def url(service: str) -> str:
        return project.run("db", "url", "test-unit-a", "--service", service).stdout.strip()

    def tables(service: str) -> str:
        script = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
        return project.run("exec", "test-unit-a", "--", "psql", "-At", "-c", script, url(service)).stdout.strip()

    urls = {name: url(name) for name in ("shop", "analytics", "redis", "queue")}
    assert len(set(urls.values())) == 4
    assert url("postgres") == urls["shop"]
    listed = json.loads(project.run("db", "list", "--json").stdout)["databases"]
    assert {each["service"]: each["engine"] for each in listed} == {
        "shop": "postgres",
        "analytics": "postgres",
        "redis": "redis",
        "queue": "redis",
    }
    assert (tables("shop"), tables("analytics")) == ("things", "facts")
    project.run("exec", "test-unit-a", "--", "psql", "-q", "-c", "CREATE TABLE mine (n int)", urls["analytics"])
    project.run("db", "reset", "test-unit-a", "--service", "analytics")
    assert (tables("shop"), tables("analytics"), url("analytics")) == ("things", "facts", urls["analytics"])
    project.run("db", "drop", "test-unit-a", "--service", "analytics")
    assert [each["service"] for each in json.loads(project.run("db", "list", "--json").stdout)["databases"]] == [
        "shop",
        "redis",
        "queue",
    ]
    assert project.run("db", "create", "test-unit-a").stderr.strip().endswith("created: analytics")
    assert tables("analytics") == "facts"
    project.run("remove", "test-unit-a", "--force")
    project.auditor().assert_no_leftovers(within=5.0)
