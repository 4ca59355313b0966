"""Runs and worktrees with databases on servers of the user's: judged by what is on those servers before and after."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import redis

import users_server
from faults.killing import __file__ as killing
from faults.test_lost_records import destroy
from grove import said
from testgrove.core.server_url import parse_server_url
from testgrove.errors import PreconditionError
from testgrove.services.engines.redis.external import ExternalRedis

pytestmark = [pytest.mark.slow, pytest.mark.postgres]

POSTGRES = """
[services.postgres]
host = "{url}"
migrate = "psql --quiet --set ON_ERROR_STOP=1 --file schema.sql"
inputs = ["schema.sql"]
[suites.unit]
command = "psql --no-align --tuples-only --command 'SELECT name || current_database() FROM things'"
services = ["postgres"]
[suites.hang]
purpose = "test-integration"
command = "psql --command 'SELECT pg_sleep(60)'"
services = ["postgres"]
"""
FILES = {
    "README.md": "A project.\n",
    "schema.sql": "CREATE TABLE things (name text);\nINSERT INTO things VALUES ('first ');\n",
}
USERS = {"postgres", "template0", "template1", "shop", "testdb_unit_x", "testgrove_template_of_mine"}


@pytest.fixture(scope="module")
def running(require_postgres):
    if shutil.which("psql") is None:
        pytest.skip("there is no psql on the PATH")
    with users_server.users_postgres(require_postgres) as server:
        yield server


@pytest.fixture
def server(running):
    running.clear()
    for name in USERS - {"postgres", "template0", "template1"}:
        running.sql(f"CREATE DATABASE {name} OWNER ci")
    return running


@pytest.fixture
def project(grove, server):
    return grove(files=FILES, config=POSTGRES.format(url=server.url))


def output(grove, suite="unit"):
    (log,) = grove.runs()[-1].glob(f"test-{suite}-tree/output.log")
    return log.read_text().strip()


def test_a_run_leaves_the_users_server_as_it_was_but_for_a_sealed_template(project, server):
    for _ in range(2):
        project.run("test", "unit")
        assert output(project) == "first testdb_unit_tree"
    assert server.unsealed() == USERS
    assert len(server.templates() - USERS) == 1
    project.auditor().assert_no_leftovers(within=1.0)


def test_the_password_is_shown_nowhere(project, server):
    done = project.run("test", "unit")
    written = [path.read_text(errors="replace") for path in project.runs()[-1].rglob("*") if path.is_file()]
    metadata = (project.tree("test-unit-tree") / ".worktree-metadata.json").read_text()
    for text in (done.stdout, done.stderr, metadata, *written):
        assert users_server.PASSWORD not in text
        assert users_server.QUOTED not in text
    assert (project.state / "state.db").stat().st_mode & 0o77 == 0


def test_a_changed_migration_has_a_template_of_its_own(project, server):
    project.run("test", "unit")
    project.write({"schema.sql": FILES["schema.sql"].replace("first", "second")})
    project.run("test", "unit")
    assert output(project) == "second testdb_unit_tree"
    assert len(server.templates() - USERS) == 2


def test_a_database_of_the_users_with_the_cells_name_is_an_error_that_names_it(project, server):
    server.sql("CREATE DATABASE testdb_unit_tree OWNER ci")
    done = project.run("test", "unit", check=False)
    assert done.returncode == 1, said(done)
    assert "testdb_unit_tree already exists" in done.stdout
    assert server.unsealed() == USERS | {"testdb_unit_tree"}


def test_one_that_a_test_made_anew_is_kept_and_said(grove, server):
    command = "dropdb testdb_unit_tree && createdb testdb_unit_tree"
    suite = f'[suites.unit]\ncommand = "{command}"\nservices = ["postgres"]\n'
    here = grove(files=FILES, config=f'[services.postgres]\nhost = "{server.url}"\n{suite}')
    done = here.run("test", "unit")
    assert "testdb_unit_tree on postgres at 127.0.0.1" in done.stdout
    assert server.unsealed() == USERS | {"testdb_unit_tree"}


def test_a_worktrees_database_is_known_again_after_the_store_was_lost(project, server):
    for name in ("a", "b"):
        project.create("test-unit", name, "--ports")
    mark = server.sql("SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = 'testdb_unit_b'")
    another = mark[0][0].replace("test-unit-b of", "test-unit-b of /another")
    server.sql(f"COMMENT ON DATABASE testdb_unit_b IS '{another}'")
    destroy(project)
    assert set(project.worktrees()) == {"test-unit-a", "test-unit-b"}
    project.run("remove", "--force", "a", "b")
    assert server.unsealed() == USERS | {"testdb_unit_b"}


def test_a_worktrees_database_that_tests_made_again_is_kept_and_named_until_it_is_dropped(project, server):
    project.create("test-unit", "a", "--ports")
    server.sql("DROP DATABASE testdb_unit_a WITH (FORCE)")
    server.sql("CREATE DATABASE testdb_unit_a OWNER ci")
    command = f"dropdb -h 127.0.0.1 -p {server.port} testdb_unit_a"
    found = project.run("doctor", check=False)
    assert (found.returncode, command in found.stdout) == (3, True), said(found)
    removed = project.run("remove", "a")
    assert "testdb_unit_a on postgres at 127.0.0.1" in removed.stderr, said(removed)
    assert command in removed.stderr
    assert server.unsealed() == USERS | {"testdb_unit_a"}
    refused = project.create("test-unit", "a", "--ports", check=False)
    assert (refused.returncode, command in refused.stderr) == (3, True), said(refused)
    assert command in project.run("doctor", check=False).stdout, "it is remembered"
    server.sql("DROP DATABASE testdb_unit_a")
    assert project.run("doctor").returncode == 0
    project.create("test-unit", "a", "--ports")
    project.run("remove", "a")
    assert server.unsealed() == USERS


def test_two_projects_with_cells_of_the_same_name_do_not_share_a_database(project, server):
    other = project.sibling("other", files=FILES, config=POSTGRES.format(url=server.url))
    commands = [one.start("test", "unit", "hang") for one in (project, other)]
    wait_for(lambda: len([name for name in server.databases() if name.startswith("testdb_integration_hang_tree")]) == 2)
    for command in commands:
        command.terminate()
        command.communicate(timeout=60)
    assert server.unsealed() == USERS


def wait_for(condition, within=60.0):
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.02)


@pytest.mark.parametrize("moment", ["building", "template", "running"])
def test_a_killed_run_is_taken_off_the_server_by_the_next_command(project, server, moment):
    if moment == "building":
        project.write({"schema.sql": FILES["schema.sql"] + "SELECT pg_sleep(60);\n"})
    elif moment == "running":
        project.run("test", "unit")
    process = project.start("test", "hang", output=subprocess.DEVNULL)
    begins = {
        "building": "testgrove_building_",
        "template": "testgrove_template_",
        "running": "testdb_integration_hang_tree",
    }
    wait_for(lambda: any(name.startswith(begins[moment]) for name in server.databases() - USERS))
    process.kill()
    process.wait()
    project.run("list")
    assert server.unsealed() == USERS
    assert len(server.templates() - USERS) == (0 if moment == "building" else 1)
    project.auditor().assert_no_leftovers(within=2.0)


def test_killed_at_every_step_on_the_server_nothing_of_ours_stays(project, server):
    """Each of the steps between the first lease of a database and its end; see faults/killing.py."""
    log = project.base / "steps"
    variables = {"KILLING_LOG": str(log), "KILLING_BASE": str(project.base), "KILLING_AT": ""}
    program = (sys.executable, killing)
    project.run("test", "unit", program=program, env=variables)  # makes the environment, counts the steps
    steps = [line.partition(" ")[2] for line in log.read_text().splitlines()]
    words = ["after record database", "before forget database", "after forget database"]
    assert set(words) <= set(steps)
    for template in (True, False):
        for at in words:
            if template:
                for name in server.templates() - USERS:
                    server.sql(f"DROP DATABASE {name}")
            done = project.run("test", "unit", program=program, env=variables | {"KILLING_AT": at}, check=False)
            assert done.returncode == -9, said(done)
            project.run("list")
            assert server.unsealed() == USERS, at
    project.auditor().assert_no_leftovers(within=2.0)


def test_a_run_whose_records_are_lost_is_swept_by_the_next_run_of_anybody(project, server, grove):
    """A container with testgrove's state in it was thrown away."""
    process = project.start("test", "hang", output=subprocess.DEVNULL)
    wait_for(lambda: "testdb_integration_hang_tree" in server.databases())
    elsewhere = grove(files=FILES, config=POSTGRES.format(url=server.url))
    elsewhere.run("test", "unit")
    assert "testdb_integration_hang_tree" in server.databases(), "its owner lives"
    process.kill()
    process.wait()
    wait_for(lambda: not server.sql("SELECT 1 FROM pg_stat_activity WHERE datname = 'testdb_integration_hang_tree'"))
    elsewhere.run("test", "unit")
    assert server.unsealed() == USERS


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        (lambda server: server.url.replace("//ci:", "//poor:"), 3, "is not allowed to create databases"),
        (lambda server: server.url.replace(users_server.QUOTED, "wr0ng-Secret"), 5, "password authentication failed"),
        (lambda server: server.url.replace(str(server.port), str(users_server.free_port())), 5, "refused"),
    ],
    ids=["no CREATEDB", "wrong password", "unreachable"],
)
def test_a_server_that_will_not_do_is_said_before_anything_is_made(grove, server, change, status, words):
    here = grove(files=FILES, config=POSTGRES.format(url=change(server)))
    for command in (["test", "unit"], ["create", "--purpose", "test-unit", "--identifier", "a", "--branch", "main"]):
        done = here.run(*command, check=False)
        assert done.returncode == status, said(done)
        assert words in done.stderr
        for secret in (users_server.PASSWORD, users_server.QUOTED, "wr0ng-Secret"):
            assert secret not in done.stdout + done.stderr
        assert here.worktrees() == {}
        assert not here.root.exists()
    assert server.databases() == USERS


def test_a_worktree_to_live_in_has_its_database_until_it_is_removed(project, server):
    project.create("test-unit", "a", "--ports")
    project.create("test-migration", "a", "--ports")
    assert server.unsealed() == USERS | {"testdb_unit_a", "testdb_migration_a"}
    query = (
        "psql",
        "--no-align",
        "--tuples-only",
        "--command",
        "SELECT count(*) FROM pg_tables WHERE schemaname='public'",
    )
    assert project.run("exec", "test-unit-a", "--", *query).stdout.strip() == "1"
    assert project.run("exec", "test-migration-a", "--", *query).stdout.strip() == "0"
    project.run("test", "unit")  # sweeps, and leaves alone what a worktree has
    assert server.unsealed() == USERS | {"testdb_unit_a", "testdb_migration_a"}
    project.run("remove", "test-unit-a", "test-migration-a")
    assert server.unsealed() == USERS


def test_a_server_that_went_away_holds_up_nothing_else(grove, require_postgres):
    """What is to be undone there waits until it is back; everything else is done, and said."""
    with users_server.users_postgres(require_postgres) as server:
        project = grove(files=FILES, config=POSTGRES.format(url=server.url))
        project.create("test-unit", "a", "--ports")
        process = project.start("test", "hang", output=subprocess.DEVNULL)
        wait_for(lambda: server.sql("SELECT 1 FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(60)%'"))
        process.kill()
        process.wait()
        server.process.send_signal(signal.SIGSTOP)  # it does not even refuse
        try:
            there = project.worktrees()
            done = project.run("remove", "test-unit-a", check=False)
        finally:
            server.process.send_signal(signal.SIGCONT)
        assert set(there) == {"test-unit-a", "test-integration-hang-tree"}
        assert (project.runs()[-1] / "report.json").exists()
        assert done.returncode == 5, said(done)
        assert users_server.QUOTED not in done.stderr
        project.run("remove", "test-unit-a")
        wait_for(lambda: server.unsealed() == {"postgres", "template0", "template1"})
        project.auditor().assert_no_leftovers(within=2.0)


def test_cleanup_takes_templates_off_the_server_that_were_not_asked_for(project, server):
    project.run("test", "unit")
    (template,) = server.templates() - USERS
    assert project.json("cleanup", "--max-age", "1", "--yes")["removed"] == []
    assert template in project.json("cleanup", "--max-age", "0")["would_remove"]
    assert template in server.databases()
    assert template in project.json("cleanup", "--max-age", "0", "--yes")["removed"]
    assert server.databases() == USERS


def test_db_commands_work_on_databases_by_url(project, server):
    project.create("test-unit", "a", "--ports")
    things = ("psql", "--no-align", "--tuples-only", "--command", "SELECT count(*) FROM things")
    project.run("exec", "test-unit-a", "--", "psql", "--command", "DELETE FROM things")
    project.run("db", "reset", "test-unit-a")
    assert project.run("exec", "test-unit-a", "--", *things).stdout.strip() == "1"
    project.run("db", "drop", "test-unit-a")
    assert server.unsealed() == USERS
    assert "DATABASE_URL" not in project.json("env", "test-unit-a")["variables"]
    project.run("db", "create", "test-unit-a")
    project.run("db", "create", "test-unit-a")
    assert server.unsealed() == USERS | {"testdb_unit_a"}
    assert project.run("exec", "test-unit-a", "--", *things).stdout.strip() == "1"
    assert project.run("db", "url", "test-unit-a").stdout.strip() == server.url.replace("/postgres", "/testdb_unit_a")
    before = project.json("env", "test-unit-a")["variables"]
    project.run("ports", "reassign", "test-unit-a")
    after = project.json("env", "test-unit-a")["variables"]
    assert {name: after[name] for name in before if "PORT" not in name} == {
        name: before[name] for name in before if "PORT" not in name
    }
    project.run("remove", "test-unit-a")
    assert server.unsealed() == USERS


def test_with_isolation_none_everybody_uses_the_url_as_it_is(grove, server):
    url = server.url.replace("/postgres", "/shop")
    command = f'sh -c \'test \\"$DATABASE_URL\\" = \\"{url}\\" && psql -Atc \\"SELECT current_database()\\"\''
    here = grove(
        files=FILES,
        config=f'[services.postgres]\nhost = "{url}"\nisolation = "none"\nmigrate = "false"\n'
        f'[suites.unit]\ncommand = "{command}"\nservices = ["postgres"]\n',
    )
    done = here.run("test")
    assert output(here) == "shop"
    assert "database shop is shared by all worktrees" in done.stdout
    here.create("test-unit", "a", "--ports")
    here.run("remove", "test-unit-a")
    assert server.databases() == USERS


REDIS = """
[services.redis]
host = "redis://:{password}@127.0.0.1:{port}"
[suites.one]
command = "python use.py"
services = ["redis"]
[suites.two]
command = "python use.py"
services = ["redis"]
[suites.hang]
command = "python use.py hang"
services = ["redis"]
"""
USE = """
import os, socket, sys, time
from urllib.parse import urlsplit, unquote
url = urlsplit(os.environ["REDIS_URL"])
print(url.path)
with socket.create_connection((url.hostname, url.port)) as server:
    for words in (f"AUTH {unquote(url.password)}", f"SELECT {url.path[1:]}", "DBSIZE", "FLUSHDB", "SET a 1"):
        server.sendall(f"{words}\\r\\n".encode())
        answer = server.recv(1000)
        assert not answer.startswith(b"-"), answer
        assert words != "DBSIZE" or answer == b":0\\r\\n", answer
time.sleep(60 if "hang" in sys.argv else 0.5)
"""


@pytest.fixture(scope="module")
def redis_port(require_redis):
    with users_server.users_redis(require_redis) as port:
        yield port


@pytest.fixture
def users_redis(redis_port):
    """Connections to the user's server; number 0 and 2 hold keys of the user's."""

    def connect(number):
        return redis.Redis(port=redis_port, password=users_server.PASSWORD, db=number, decode_responses=True)

    with connect(0) as first, connect(2) as third:
        first.flushall()
        first.set("mine", "0")
        third.set("mine", "2")
    yield connect
    with connect(0) as first, connect(2) as third:
        assert (first.get("mine"), third.get("mine")) == ("0", "2")


@pytest.fixture
def redis_project(grove, redis_port, users_redis):
    config = REDIS.format(password=users_server.QUOTED, port=redis_port)
    return grove(files={"README.md": "A project.\n", "use.py": USE}, config=config)


def used(users_redis):
    with users_redis(0) as connection:
        return set(connection.info("keyspace"))


def test_cells_have_numbered_databases_of_their_own_which_are_empty_again(redis_project, users_redis):
    done = redis_project.run("test", "one", "two", "-j", "2")
    numbers = {output(redis_project, suite) for suite in ("one", "two")}
    assert len(numbers) == 2
    assert numbers & {"/0", "/2"} == set()
    assert "share pub/sub, scripts and FLUSHALL" in done.stdout
    assert used(users_redis) == {"db0", "db2"}


def test_a_worktrees_number_is_known_again_after_the_store_was_lost(redis_project, users_redis):
    redis_project.create("test-unit", "a", "--ports")
    metadata = json.loads((redis_project.tree("test-unit-a") / ".worktree-metadata.json").read_text())
    number = metadata["databases"]["redis"]["name"]
    with users_redis(number) as connection:
        connection.set("key", "of a test")
    destroy(redis_project)
    redis_project.run("remove", "--force", "test-unit-a")
    assert used(users_redis) == {"db0", "db2"}


@pytest.mark.parametrize("lost", [False, True])
def test_a_killed_runs_numbers_are_emptied_and_given_back(redis_project, users_redis, lost, grove):
    process = redis_project.start("test", "hang", output=subprocess.DEVNULL)
    wait_for(lambda: "db1" in used(users_redis))
    process.kill()
    process.wait()
    if lost:  # and so are testgrove's records: the next run, of whomever, sweeps
        config = (redis_project.repo / "testgrove.toml").read_text().partition("\n[ports]")[0]
        grove(files={"README.md": "A project.\n", "use.py": USE}, config=config).run("test", "one")
    else:
        redis_project.run("list")
    assert used(users_redis) == {"db0", "db2"}


def test_when_every_number_is_in_use_that_is_said(redis_project, users_redis):
    for number in (1, 3, 4):
        with users_redis(number) as connection:
            connection.set("mine", "x")
    done = redis_project.run("test", "one", check=False)
    assert "in use" in done.stdout + done.stderr
    assert "embedded" in done.stdout + done.stderr
    assert used(users_redis) == {"db0", "db1", "db2", "db3", "db4"}


def test_a_worktree_to_live_in_keeps_its_number(redis_project, users_redis):
    redis_project.create("test-one", "a", "--ports")
    url = redis_project.json("env", "test-one-a")["variables"]["REDIS_URL"]
    assert url.endswith("/1")
    redis_project.run("test", "one")
    assert output(redis_project, "one") == "/3"
    redis_project.run("remove", "test-one-a")
    assert used(users_redis) == {"db0", "db2"}


@pytest.mark.parametrize("kind", ["cluster", "few"])
def test_a_server_without_numbers_for_worktrees_is_refused(require_redis, tmp_path, kind):
    bus = ("--cluster-port", str(users_server.free_port())) if int(require_redis.version.split(".")[0]) >= 7 else ()
    options = {"cluster": ("--cluster-enabled", "yes", *bus), "few": ("--databases", "2")}[kind]
    with users_server.users_redis(require_redis, *options, "--dir", str(tmp_path)) as port:
        url = parse_server_url("redis", f"redis://:{users_server.QUOTED}@127.0.0.1:{port}")
        with pytest.raises(PreconditionError, match="no numbered databases for worktrees") as caught:
            ExternalRedis(url).open()
    assert 'host = "embedded"' in caught.value.hint


SQLITE = """
[services.sqlite]
path = "data/app.sqlite3"
migrate = "python migrate.py"
inputs = ["migrate.py"]
[suites.unit]
command = "python use.py"
services = ["sqlite"]
"""
MIGRATE = """
import os, sqlite3
path = os.environ["SQLITE_PATH"]
assert os.environ["DATABASE_URL"] == f"sqlite:///{path}"
database = sqlite3.connect(path)
database.execute("PRAGMA journal_mode = WAL")
database.execute("CREATE TABLE things (name TEXT)")
database.execute("INSERT INTO things VALUES ('first')")
database.commit()
open("/dev/shm/tg-migrated-" + os.environ["COUNTER"], "a").write("x")
os._exit(0)  # the write-ahead log is not folded in
"""
USE_SQLITE = """
import os, sqlite3
assert os.environ["DATABASE_URL"] == os.environ["SQLITE_URL"]
database = sqlite3.connect(os.environ["DATABASE_URL"].removeprefix("sqlite:///"))
print(database.execute("SELECT name FROM things").fetchall())
database.execute("INSERT INTO things VALUES ('of a test')")
database.commit()
"""


@pytest.fixture
def sqlite_project(grove):
    files = {"README.md": "A project.\n", "migrate.py": MIGRATE, "use.py": USE_SQLITE}
    here = grove(files=files, config="[env]\nCOUNTER = 'one'\n" + SQLITE)
    counter = Path(f"/dev/shm/tg-migrated-{here.base.name}")
    here.write({"testgrove.toml": (here.repo / "testgrove.toml").read_text().replace("'one'", f"'{here.base.name}'")})
    here.git("commit", "--all", "--quiet", "--message", "The counter")
    yield here
    counter.unlink(missing_ok=True)


def test_each_worktree_has_a_file_of_its_own_and_the_migration_runs_once(sqlite_project):
    for _ in range(2):
        sqlite_project.run("test")
        assert output(sqlite_project) == "[('first',)]"
    sqlite_project.create("test-unit", "a", "--ports")
    name = sqlite_project.worktrees()["test-unit-a"]["databases"]["sqlite"]["name"]
    assert name == str(sqlite_project.root / "test-unit-a/data/app.sqlite3")
    assert sqlite_project.run("db", "url", "test-unit-a").stdout == f"sqlite:///{name}\n"
    done = sqlite_project.run("exec", "test-unit-a", "--", "python", "use.py")
    assert done.stdout.strip() == "[('first',)]"
    sqlite_project.run("db", "reset", "test-unit-a")
    assert sqlite_project.run("exec", "test-unit-a", "--", "python", "use.py").stdout.strip() == "[('first',)]"
    sqlite_project.run("remove", "test-unit-a")  # what is in it goes with it, like a database on a server
    assert Path(f"/dev/shm/tg-migrated-{sqlite_project.base.name}").read_text() == "xx"  # and for the reset
    sqlite_project.auditor().assert_no_leftovers(within=1.0)


def test_a_tracked_file_is_not_replaced(sqlite_project):
    sqlite_project.write({"data/app.sqlite3": "tracked\n"}, commit="A file of the user's")
    done = sqlite_project.run("test", check=False)
    assert done.returncode == 1
    assert "data/app.sqlite3 already exists" in done.stdout
    report = json.loads((sqlite_project.runs()[-1] / "report.json").read_text())
    assert report["status"] != "passed"


def test_a_migration_that_fails_leaves_no_file(sqlite_project):
    sqlite_project.write({"migrate.py": "raise SystemExit('no luck')\n"})
    done = sqlite_project.run("test", check=False)
    assert "no luck" in done.stdout
    assert list((sqlite_project.cache / "sqlite").glob("*")) == []
