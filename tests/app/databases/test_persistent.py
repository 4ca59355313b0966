"""Databases of worktrees that outlive a command: on the project's own servers, under its keeper."""

from __future__ import annotations

import json
import random
import shutil
import socket
import time
from contextlib import suppress
from pathlib import Path

import psutil
import psycopg
import pytest

from grove import keepers, said

pytestmark = [pytest.mark.slow, pytest.mark.postgres, pytest.mark.redis]

CONFIG = """
[services.postgres]
migrate = "echo x >> {count}; {psql} -q -v ON_ERROR_STOP=1 -f schema.sql"
migrate_to = "{psql} -q -v ON_ERROR_STOP=1 -f ${{REVISION}}.sql"
inputs = ["schema.sql"]
[services.redis]
[suites.unit]
command = "true"
[suites.migration]
command = "true"
services = ["postgres"]
"""
FILES = {
    "README.md": "A project.\n",
    "schema.sql": "CREATE TABLE things (name text);\nINSERT INTO things VALUES ('first');\n",
    "0001.sql": "CREATE TABLE early (name text);\n",
}


@pytest.fixture
def project(grove, require_postgres, require_redis):
    psql = require_postgres.bindir / "psql"
    if not psql.exists():
        pytest.skip("these PostgreSQL binaries come without psql")
    made = grove(files=FILES)
    text = CONFIG.format(psql=psql, count=made.base / "migrations")
    config = made.repo / "testgrove.toml"
    made.write({"testgrove.toml": text + config.read_text()}, commit="Services")
    return made


def make(project, identifier: str = "one", purpose: str = "review", **options):
    project.run("create", "--purpose", purpose, "--identifier", identifier, "--branch", "main", **options)
    return f"{purpose}-{identifier}"


def url(project, worktree: str) -> str:
    return project.run("db", "url", worktree).stdout.strip()


def ask(project, worktree: str, statement: str, *, within: float = 20.0):
    """The rows that the worktree's database answers with; a server that is being started is waited for."""
    deadline = time.monotonic() + within
    while True:
        try:
            with psycopg.connect(url(project, worktree), autocommit=True, connect_timeout=5) as connection:
                cursor = connection.execute(statement)
                return cursor.fetchall() if cursor.description else None
        except psycopg.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def states(project) -> dict[str, str]:
    return {entry["name"]: entry["state"] for entry in project.json("services", "list")["services"]}


def server_pids(project) -> list[int]:
    return [entry["pid"] for entry in project.json("services", "list")["services"] if entry["pid"]]


def migrations(project) -> int:
    return (project.base / "migrations").read_text().count("x")


def test_without_the_template_cache_a_worktrees_database_is_migrated_again(project):
    make(project)
    make(project, "two")
    assert migrations(project) == 1
    args = ("--purpose", "review", "--identifier", "three", "--branch", "main", "--no-template-cache")
    project.run("create", *args)
    assert migrations(project) == 2
    four = make(project, "four")
    assert migrations(project) == 2
    assert ask(project, four, "SELECT name FROM things") == [("first",)]
    templates = "SELECT count(*) FROM pg_database WHERE datistemplate AND datname ~ '^template_'"
    assert ask(project, four, templates) == [(1,)]
    for identifier in ("one", "two", "three", "four"):
        project.run("remove", f"review-{identifier}")


def test_each_has_its_own_and_the_last_one_takes_everything_away(project):
    one, two = make(project), make(project, "two")
    assert migrations(project) == 1
    ask(project, one, "INSERT INTO things VALUES ('mine')")
    assert ask(project, two, "SELECT name FROM things") == [("first",)]
    assert project.registry()["worktrees"][one]["database"] == "testdb_review_one"
    metadata = json.loads((project.root / one / ".worktree-metadata.json").read_text())
    assert metadata["database"] == "testdb_review_one"
    assert "password" not in json.dumps(metadata)
    assert project.run("exec", one, "--", "sh", "-c", "echo $PGDATABASE$DATABASE_NAME").stdout == "testdb_review_one\n"
    project.run("remove", one)
    assert ask(project, two, "SELECT datname FROM pg_database WHERE datname LIKE 'testdb%'") == [("testdb_review_two",)]
    project.run("remove", two)
    project.auditor().assert_nothing(within=2.0)


def test_a_changed_migration_gives_another_template(project):
    make(project)
    project.write({"schema.sql": "CREATE TABLE things (name text);\n"}, commit="Nothing in it")
    assert ask(project, make(project, "two"), "SELECT name FROM things") == []
    assert ask(project, make(project, "three"), "SELECT name FROM things") == []
    assert migrations(project) == 2


def test_a_suite_that_asks_for_none_gets_none_and_a_migration_test_an_empty_one(project):
    unit = make(project, purpose="test-unit")
    assert project.worktrees()[unit]["databases"] == {}
    empty = make(project, purpose="test-migration")
    assert ask(project, empty, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == [(0,)]
    words = ("--purpose", "test-migration", "--identifier", "two", "--branch", "main", "--migrate-to", "0001")
    project.run("create", *words)
    assert ask(project, "test-migration-two", "SELECT count(*) FROM early") == [(0,)]
    project.run("db", "migrate", empty)
    assert ask(project, empty, "SELECT name FROM things") == [("first",)]
    assert project.run("db", "migrate", empty, "--to", "0009", check=False).returncode == 5


def test_a_server_stops_when_nobody_uses_it_and_starts_for_whoever_connects(project):
    idle = {"TESTGROVE_KEEPER_IDLE": "0.5"}
    worktree = make(project, env=idle)
    ask(project, worktree, "INSERT INTO things VALUES ('kept')")
    deadline = time.monotonic() + 30
    while set(states(project).values()) != {"stopped"}:
        assert time.monotonic() < deadline, states(project)
        time.sleep(0.1)
    assert not server_pids(project)
    assert ("kept",) in ask(project, worktree, "SELECT name FROM things")


def test_a_command_inside_keeps_its_server_running(project):
    worktree = make(project, env={"TESTGROVE_KEEPER_IDLE": "0.3"})
    with project.start("exec", worktree, "--", "sleep", "4") as command:
        deadline = time.monotonic() + 30
        while not any("sleep" in process.name() for process in [psutil.Process(command.pid)]):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        ask(project, worktree, "SELECT 1")
        time.sleep(1.5)
        assert states(project)["postgres-" + postgres_major(project)] == "running"
        command.kill()


def postgres_major(project) -> str:
    return next(name for name in states(project) if name.startswith("postgres-")).partition("-")[2]


@pytest.mark.parametrize("victims", ["keeper", "servers", "everything"])
def test_what_was_committed_outlives_a_kill(project, victims):
    worktree = make(project)
    for number in range(20):
        ask(project, worktree, f"INSERT INTO things VALUES ('{number}')")
    killed = [process.pid for process in keepers(project.base)] if victims != "servers" else []
    if victims != "keeper":
        for pid in server_pids(project):
            killed += [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
    if victims == "everything":
        for keeper in keepers(project.base):
            killed += [child.pid for child in keeper.children(recursive=True)]
    for pid in dict.fromkeys(killed):
        with suppress(psutil.NoSuchProcess):
            psutil.Process(pid).kill()
    assert project.run("exec", worktree, "--", "true").returncode == 0
    assert len(ask(project, worktree, "SELECT name FROM things")) == 21
    project.run("remove", worktree)
    project.auditor().assert_nothing(within=2.0)


def test_a_port_that_somebody_takes_meanwhile_is_given_up(project):
    worktree = make(project)
    (before,) = ask(project, worktree, "SELECT current_setting('port')")
    ask(project, worktree, "INSERT INTO things VALUES ('mine')")
    env_file = project.root / worktree / ".env.test"
    env_file.write_text(env_file.read_text() + "OF_MINE=1\n")
    project.run("services", "stop")
    with socket.socket() as squatter:
        squatter.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        squatter.bind(("127.0.0.1", int(before[0])))
        squatter.listen()
        done = project.run("exec", worktree, "--", "sh", "-c", "echo $OF_MINE")
    assert "port" in done.stderr
    assert done.stdout == "1\n"
    assert f":{before[0]}/" not in url(project, worktree)
    assert ("mine",) in ask(project, worktree, "SELECT name FROM things")
    entry = project.worktrees()[worktree]
    assert f":{before[0]}/" not in entry["databases"]["postgres"]["url"]
    refused = project.run("remove", worktree, check=False)
    assert (refused.returncode, ".env.test" in refused.stderr) == (3, True), said(refused)


def test_a_database_is_dropped_where_the_port_was_taken_meanwhile(project):
    """One of several. With `db drop` the server moves; `remove` names the command that moves it."""
    one, two, three = make(project), make(project, "two"), make(project, "three")
    names = "SELECT datname FROM pg_database WHERE datname LIKE 'testdb%' ORDER BY 1"
    (before,) = ask(project, three, "SELECT current_setting('port')")
    project.run("services", "stop")
    with socket.create_server(("127.0.0.1", int(before[0]))):
        done = project.run("db", "drop", two, "--engine", "postgres")
        assert "listens on port" in done.stderr, said(done)
    assert ask(project, three, names) == [("testdb_review_one",), ("testdb_review_three",)]

    (before,) = ask(project, three, "SELECT current_setting('port')")
    project.run("services", "stop")
    with socket.create_server(("127.0.0.1", int(before[0]))):
        failed = project.run("remove", one, check=False)
        assert (failed.returncode, "testgrove services start" in failed.stderr) == (5, True), said(failed)
        assert "testgrove services start" in project.run("list").stdout, "the note, and a clean-up, name it, too"
        project.run("services", "start")
        project.run("remove", one)
    assert ask(project, three, names) == [("testdb_review_three",)]
    project.run("remove", two, three)
    project.auditor().assert_nothing(within=2.0)


def test_a_worktree_brings_psql_where_the_machine_has_none(project, tmp_path):
    for name in ("git", "sh", "uv", "python3", "id", "unshare"):
        if found := shutil.which(name):
            (tmp_path / name).symlink_to(found)
    worktree = make(project, env={"PATH": str(tmp_path)})
    assert (project.root / worktree / ".venv/bin/psql").is_symlink()
    words = ("sh", "-c", "psql -tAc 'SELECT name FROM things'; psql -l | grep testdb_")
    done = project.run("exec", worktree, "--", *words)
    assert done.stdout.startswith("first\n testdb_review_one"), said(done)


def test_two_projects_never_meet(project):
    other = project.sibling("other", files=FILES)
    other.write({"testgrove.toml": (project.repo / "testgrove.toml").read_text()}, commit="Services")
    one, two = make(project), make(other)
    ask(project, one, "INSERT INTO things VALUES ('mine')")
    assert ask(other, two, "SELECT name FROM things") == [("first",)]
    assert url(project, one).rpartition(":")[2] != url(other, two).rpartition(":")[2]
    project.run("services", "stop")
    assert ask(other, two, "SELECT 1") == [(1,)]
    project.run("remove", one)
    other.run("remove", two)
    project.auditor(other).assert_nothing(within=2.0)


def test_reset_drop_and_create(project):
    worktree = make(project)
    before = url(project, worktree)
    ask(project, worktree, "INSERT INTO things VALUES ('mine')")
    project.run("db", "reset", worktree)
    assert url(project, worktree) == before
    assert ask(project, worktree, "SELECT name FROM things") == [("first",)]
    project.run("db", "drop", worktree, "--engine", "postgres")
    assert list(project.worktrees()[worktree]["databases"]) == ["redis"]
    missing = project.run("db", "url", worktree, check=False)
    assert (missing.returncode, "testgrove db create" in missing.stderr) == (3, True)
    project.run("db", "create", worktree)
    assert ask(project, worktree, "SELECT name FROM things") == [("first",)]
    assert project.json("db", "create", worktree)["engines"] == []
    project.run("remove", worktree)  # our own files, written anew, are still ours
    project.auditor().assert_nothing(within=2.0)


def test_a_create_that_fails_leaves_nothing_that_the_next_one_meets(grove, require_redis):
    project = grove(config='[services.redis]\n[services.sqlite]\npath = "app.db"\n')
    worktree = make(project)
    project.run("db", "drop", worktree)
    config = project.repo / "testgrove.toml"
    works = config.read_text()
    config.write_text(works.replace("[services.redis]", '[services.redis]\nsettings = { no-such = "1" }'))
    assert project.run("db", "create", worktree, check=False).returncode != 0
    assert not (project.tree(worktree) / "app.db").exists()
    assert project.json("db", "list")["databases"] == []
    config.write_text(works)
    assert sorted(project.json("db", "create", worktree)["engines"]) == ["redis", "sqlite"]
    project.run("remove", worktree)


def test_a_database_that_its_tests_drop_and_create_stays_the_worktrees(project):
    worktree = make(project)
    maintenance = url(project, worktree).rpartition("/")[0] + "/postgres"
    with psycopg.connect(maintenance, autocommit=True) as connection:
        connection.execute('DROP DATABASE "testdb_review_one"')
    assert project.json("db", "create", worktree)["engines"] == ["postgres"]
    with psycopg.connect(maintenance, autocommit=True) as connection:
        connection.execute('DROP DATABASE "testdb_review_one"')
        connection.execute('CREATE DATABASE "testdb_review_one"')
    assert ask(project, worktree, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == [(0,)]
    make(project, "two")
    project.run("remove", worktree)
    assert ask(project, "review-two", "SELECT datname FROM pg_database WHERE datname LIKE '%one'") == []


def test_a_create_that_is_killed_leaves_nothing(project, record_property):
    seed = random.randrange(10**6)
    record_property("seed", seed)
    moments = random.Random(seed)
    make(project, "kept")
    for _ in range(6):
        words = ("--purpose", "review", "--identifier", "killed", "--branch", "main")
        with project.start("create", *words) as command:
            with suppress(Exception):
                command.wait(moments.uniform(0.2, 2.5))
            command.kill()
        found = project.worktrees()
        if "review-killed" in found:
            assert found["review-killed"]["status"] == "ready", f"seed {seed}"
            project.run("remove", "review-killed")
        rows = ask(project, "review-kept", "SELECT datname FROM pg_database WHERE datname ~ 'killed|building'")
        assert rows == [], f"seed {seed}"
    project.run("remove", "review-kept")
    project.auditor().assert_nothing(within=2.0)


def test_errors_name_what_is_wrong(project):
    worktree = make(project, purpose="test-unit")
    for words, status, said_ in (
        (("db", "url", worktree), 3, "no database"),
        (("db", "reset", worktree), 3, "testgrove db create"),
        (("db", "create", worktree, "--engine", "oracle"), 2, "oracle"),
        (("services", "logs", "oracle"), 3, "oracle"),
        (("services", "start", "oracle"), 3, "this project has no servers yet"),
        (("create", "--purpose", "test-unit", "--identifier", "x", "--branch", "main", "--migrate-to", "1"), 2, "to"),
    ):
        done = project.run(*words, check=False)
        assert done.returncode == status, said(done)
        assert said_ in done.stderr, said(done)
    assert not list(Path(project.servers_folder).glob("*"))
