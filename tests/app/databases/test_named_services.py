"""Several services of one engine in one project, each with its migration, its template and its variables."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from needs import missing

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
migrate_to = "{psql} -q -v ON_ERROR_STOP=1 -f analytics-${{REVISION}}.sql"
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
CHECKED = """
[services.shop]
engine = "postgres"
default = true
migrate = "cat shop/*.up.sql | {psql} -q -v ON_ERROR_STOP=1"
inputs = ["shop/*.sql"]
[services.analytics]
engine = "postgres"
migrate = "cat analytics/*.up.sql | {psql} -q -v ON_ERROR_STOP=1"
inputs = ["analytics/*.sql"]
[services.redis]
[services.queue]
engine = "redis"
"""


@pytest.fixture
def project(grove, require_postgres, require_redis):
    files = {
        "shop.sql": "CREATE TABLE things (n int);\n",
        "analytics.sql": "CREATE TABLE facts (n int);\n",
        "analytics-1.sql": "CREATE TABLE first_facts (n int);\n",
        "tests/test_it.py": TESTS,
        "requirements.txt": "pytest\npytest-xdist\npsycopg[binary]\nredis\n",
    }
    return grove(files=files, config=CONFIG.format(psql=psql_of(require_postgres)))


def psql_of(binaries) -> Path:
    psql: Path = binaries.bindir / "psql"
    return psql if psql.exists() else missing("psql", "these PostgreSQL binaries come without psql")


def test_cells_and_tests_have_one_of_each(project):
    project.run("test")
    done = project.run("-q", "tests", "-n", "2", program=PLUGGED, check=False)
    assert "3 passed, 1 skipped" in done.stdout, done.stdout + done.stderr
    project.auditor().assert_no_leftovers(within=5.0)


def test_commands_work_on_one_of_them(project):
    project.run("create", "--purpose", "test-unit", "--identifier", "a", "--branch", "HEAD")

    def url(service: str, worktree: str = "test-unit-a") -> str:
        return project.run("db", "url", worktree, "--service", service).stdout.strip()

    def tables(service: str, worktree: str = "test-unit-a") -> str:
        script = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
        words = ("exec", worktree, "--", "psql", "-At", "-c", script, url(service, worktree))
        return project.run(*words).stdout.strip()

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
    older = ("--purpose", "test-unit", "--identifier", "b", "--branch", "HEAD", "--migrate-to", "analytics=1")
    project.run("create", *older)
    assert (tables("shop", "test-unit-b"), tables("analytics", "test-unit-b")) == ("things", "first_facts")
    assert "(available: shop, analytics)" in project.run("create", *older[:-1], "queue=1", check=False).stderr
    project.run("remove", "test-unit-b")
    project.run("remove", "test-unit-a", "--force")
    project.auditor().assert_no_leftovers(within=5.0)


def test_a_shell_on_each_and_a_check_of_each_migration(grove, require_postgres, require_redis):
    files = {
        "shop/0001_things.up.sql": "CREATE TABLE things (n int);\n",
        "shop/0001_things.down.sql": "DROP TABLE things;\n",
        "analytics/0001_facts.up.sql": "CREATE TABLE facts (n int);\n",
        "analytics/0001_facts.down.sql": "SELECT 1;\n",
    }
    project = grove(files=files, config=CHECKED.format(psql=psql_of(require_postgres)))
    project.run("create", "--purpose", "test-unit", "--identifier", "a", "--branch", "HEAD", "--no-env")
    project.run("db", "create", "test-unit-a")

    def ask(service: str, question: str) -> str:
        shell = [sys.executable, "-m", "testgrove", "db", "shell", "test-unit-a", "--service", service]
        options = {"cwd": project.repo, "env": project.env, "capture_output": True, "text": True, "timeout": 60}
        done = subprocess.run(shell, input=question, check=False, **options)
        assert done.returncode == 0, done.stderr
        return done.stdout

    question = "SELECT 'table ' || tablename FROM pg_tables WHERE schemaname = 'public';\n"
    assert "table things" in ask("shop", question)
    assert "table facts" not in ask("shop", question)
    assert "table facts" in ask("analytics", question)
    assert "table things" in ask("postgres", question), "an engine's name means its default service"
    ask("queue", "SET a 1\n")
    assert (ask("queue", "DBSIZE\n").strip(), ask("redis", "DBSIZE\n").strip()) == ("1", "0")

    for where in ((), ("test-unit-a",)):
        done = project.run("db", "check", *where, "--json", check=False)
        checks = {each["service"]: each for each in json.loads(done.stdout)["checks"]}
        assert done.returncode == 1
        assert {name: (each["engine"], each["steps"], each["passed"]) for name, each in checks.items()} == {
            "shop": ("postgres", ["0001_things"], True),
            "analytics": ("postgres", ["0001_facts"], False),
        }
        assert {problem["code"] for problem in checks["analytics"]["problems"]} >= {"leaves-behind"}
    alone = project.run("db", "check", "--service", "shop")
    assert alone.stdout.startswith("shop: passed: SQL files, 1 step")
    assert "analytics" not in alone.stdout + alone.stderr
    assert "table facts" in ask("analytics", question), "a check uses databases of its own"

    project.run("remove", "test-unit-a")
    assert project.json("db", "list")["databases"] == []
    project.auditor().assert_nothing(within=5.0)
