"""`testgrove db check` on real databases: what it finds, what it does not mind, and that nothing is left of it."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import time
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

import users_server
from alembic_project import alembic
from grove import MAKE_A_TABLE

pytestmark = pytest.mark.slow

GOOD = {
    "sql/0001_customers.up.sql": "CREATE TABLE customers (id int PRIMARY KEY, name text NOT NULL);",
    "sql/0001_customers.down.sql": "DROP TABLE customers;",
    "sql/0002_orders.up.sql": (
        "CREATE TABLE orders (id int PRIMARY KEY, customer int REFERENCES customers);\n"
        "CREATE INDEX by_customer ON orders (customer);"
    ),
    "sql/0002_orders.down.sql": "DROP TABLE orders;",
    "sql/0003_note.up.sql": "ALTER TABLE orders ADD COLUMN note text;",
    "sql/0003_note.down.sql": "ALTER TABLE orders DROP COLUMN note;",
}
SQLITE = '[services.sqlite]\nmigrate = "cat sql/*.up.sql | sqlite3 $SQLITE_PATH"\ninputs = ["sql/*.sql"]\n'
POSTGRES = f'[services.postgres]\nmigrate = "{MAKE_A_TABLE}"\ninputs = ["sql/*.sql"]\n'
NOT_OURS = POSTGRES + 'isolation = "none"\nhost = "postgresql://x@127.0.0.1:1/x"\n'


def checked(made, *words, status, **options):
    """The document of a check that ends with a status, and its first engine's part."""
    done = made.run("db", "check", *words, "--json", check=False, **options)
    assert done.returncode == status, done.stdout + done.stderr
    document = json.loads(done.stdout)
    return document, document["checks"][0]


def problems(check):
    return [(problem["code"], problem["migration"]) for problem in check["problems"]]


@pytest.fixture
def make(grove):
    def make(config=SQLITE, **changed):
        files = GOOD | {f"sql/{name}.sql".replace("_up", ".up").replace("_down", ".down"): text
                        for name, text in changed.items()}  # fmt: skip
        return grove(config=config, files={name: text for name, text in files.items() if text is not None})

    return make


def test_good_migrations_pass_and_nothing_is_left(make):
    made = make()
    document, check = checked(made, status=0)
    assert document["passed"]
    assert document["worktree"] == ""
    assert (check["engine"], check["tool"]) == ("sqlite", "SQL files")
    assert check["steps"] == ["0001_customers", "0002_orders", "0003_note"]
    assert check["models"] == {"result": "not compared", "reason": "SQL migrations have no models"}
    assert check["problems"] == []
    made.auditor().assert_nothing()


def test_each_step_is_shown_and_the_verdict(make):
    made = make()
    done = made.run("db", "check")
    assert done.stdout == "sqlite: passed: SQL files, 3 steps, models not compared (SQL migrations have no models)\n"
    said = done.stderr.splitlines()
    assert said[1:4] == [f"sqlite: forward: {name}" for name in ("0001_customers", "0002_orders", "0003_note")]
    assert said[4:7] == [f"sqlite: back: {name}" for name in ("0003_note", "0002_orders", "0001_customers")]
    assert said[7:] == [f"sqlite: forward again: {name}" for name in ("0001_customers", "0002_orders", "0003_note")]
    assert made.run("db", "check", "--quiet").stderr == ""


def test_what_a_downgrade_leaves_behind_is_a_diff_and_told_once(make):
    made = make(**{"0002_orders_down": "SELECT 1;"})
    done = made.run("db", "check", check=False)
    assert done.returncode == 1
    assert "sqlite: 0002_orders: leaves-behind: migrating back does not restore the previous schema" in done.stdout
    assert "    + index by_customer: CREATE INDEX by_customer ON orders (customer)\n" in done.stdout
    assert "    + table orders\n" in done.stdout
    assert done.stdout.count("leaves-behind") == 1
    assert "sqlite: 0002_orders: forward-again-failed:" in done.stdout
    assert "table orders already exists" in done.stdout
    made.auditor().assert_nothing()


def test_a_downgrade_that_takes_too_much(make):
    made = make(**{"0003_note_down": "ALTER TABLE orders DROP COLUMN note; DROP INDEX by_customer;"})
    _, check = checked(made, status=1)
    assert problems(check) == [("leaves-behind", "0003_note")]
    assert check["problems"][0]["diff"] == ["- index by_customer: CREATE INDEX by_customer ON orders (customer)"]


def test_what_is_not_the_same_the_second_time(make):
    """A migration that finds what its downgrade has left, and does something else then."""
    made = make(
        **{
            "0003_note_up": "CREATE TABLE IF NOT EXISTS notes (id int, t text);",
            "0003_note_down": "DROP TABLE notes; CREATE TABLE notes (id int);",
        }
    )
    _, check = checked(made, status=1)
    assert problems(check) == [("leaves-behind", "0003_note"), ("forward-again-differs", "0003_note")]


def test_no_way_back_is_told_and_the_others_are_checked_all_the_same(make):
    made = make(**{"0002_orders_down": None, "0001_customers_down": "SELECT 1;"})
    _, check = checked(made, status=1)
    assert problems(check) == [
        ("irreversible", "0002_orders"),
        ("leaves-behind", "0001_customers"),
        ("forward-again-failed", "0001_customers"),
    ]
    assert check["problems"][0]["message"].startswith(
        "0002_orders has no down migration (expected 0002_orders.down.sql)"
    )


def test_a_way_back_that_is_known_to_be_missing_is_no_failure(make):
    made = make(**{"0002_orders_down": None})
    _, check = checked(made, status=1)
    assert problems(check) == [("irreversible", "0002_orders")]
    document, check = checked(made, "--irreversible", "0002_orders", status=0)
    assert document["passed"]
    assert check["problems"][0]["accepted"]


def test_a_downgrade_with_a_mistake_in_it(make):
    _, check = checked(make(**{"0003_note_down": "DROP TABLE lost;"}), status=1)
    assert problems(check) == [("back-failed", "0003_note")]
    assert "no such table" in check["problems"][0]["message"]


def test_a_migration_that_fails_ends_the_check(make):
    _, check = checked(make(**{"0002_orders_up": "CREATE TABEL x (n int);"}), status=1)
    assert problems(check) == [("forward-failed", "0002_orders")]
    assert 'near "TABEL": syntax error' in check["problems"][0]["message"]


def test_several_heads_are_named(make):
    _, check = checked(make(**{"0003_other_up": "SELECT 1;"}), status=1)
    assert problems(check) == [("several-heads", "")]
    assert check["problems"][0]["message"] == "found several newest migrations: 0003_note, 0003_other"


@pytest.mark.parametrize(
    ("config", "words", "status", "code"),
    [
        ("", (), 3, "no-migration"),
        (SQLITE, ("--engine", "postgres"), 3, "no-migration"),
        (SQLITE, ("--engine", "redis"), 2, "unknown-engine"),
        (SQLITE, ("test-migration-none",), 3, "no-such-worktree"),
        ('[services.sqlite]\nmigrate = "make"\ninputs = ["README.md"]\n', (), 2, "no-migration-tool"),
        (
            NOT_OURS,
            (),
            3,
            "not-ours",
        ),
    ],
)
def test_what_cannot_be_checked_is_an_error(make, config, words, status, code):
    made = make(config)
    made.write({"README.md": "x"})
    done = made.run("db", "check", *words, "--json", check=False)
    error = json.loads(done.stdout)["error"]
    assert (done.returncode, error["code"]) == (status, code), done.stdout
    made.auditor().assert_nothing()


def test_a_command_that_is_not_there_is_no_fault_of_the_migrations(make):
    made = make('[services.sqlite]\nmigrate = "no-such-program-alembic; alembic-not-there/alembic upgrade head"\n')
    done = made.run("db", "check", check=False)
    assert done.returncode == 5, done.stdout + done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.postgres
def test_on_postgresql(make, require_postgres):
    made = make(
        POSTGRES + 'extensions = ["btree_gist"]\n' + SQLITE,
        **{
            "0003_note_up": "ALTER TABLE orders ADD COLUMN note text; CREATE TABLE more (n int);",
            "0003_note_down": "ALTER TABLE orders DROP COLUMN note;",
        },
    )
    document, check = checked(made, status=1)
    assert [each["engine"] for each in document["checks"]] == ["postgres", "sqlite"]
    assert problems(check) == [("leaves-behind", "0003_note"), ("forward-again-failed", "0003_note")]
    assert check["problems"][0]["diff"] == ["+ column public.more.n: integer", "+ table public.more"]
    made.auditor().assert_nothing()


@pytest.mark.postgres
def test_the_worktrees_own_data_is_not_touched(make, require_postgres):
    made = make(POSTGRES)
    made.create("test-migration", "x")
    worktree = "test-migration-x"
    made.run("db", "create", worktree)
    url = made.json("db", "url", worktree)["url"]
    with psycopg.connect(url, autocommit=True) as own:
        own.execute("CREATE TABLE mine (n int); INSERT INTO mine VALUES (7)")
        # The check reads the worktree's files, not the main checkout's.
        path = Path(made.worktrees()[worktree]["path"])
        (path / "sql/0003_note.down.sql").write_text("SELECT 1")
        _, check = checked(made, worktree, status=1)
        assert problems(check)[0] == ("leaves-behind", "0003_note")
        checked(made, status=0)
        document, _ = checked(made, cwd=path, status=1)
        assert document["worktree"] == ""
        assert own.execute("SELECT n FROM mine").fetchall() == [(7,)]
        names = own.execute("SELECT count(*) FROM pg_database WHERE datname LIKE 'blank%'").fetchone()
        assert names == (0,)
    made.run("remove", worktree, "--force")


def test_in_a_worktree_with_sqlite(make):
    made = make(SQLITE.replace("cat sql/*.up.sql | sqlite3 $SQLITE_PATH", MAKE_A_TABLE))
    made.create("test-migration", "x")
    made.run("db", "create", "test-migration-x")
    path = Path(made.worktrees()["test-migration-x"]["path"])
    with closing(sqlite3.connect(path / "db.sqlite3")) as own:
        own.executescript("CREATE TABLE mine (n int); INSERT INTO mine VALUES (7)")
    before = (path / "db.sqlite3").read_bytes()
    (path / "sql/0003_note.down.sql").write_text("SELECT 1")
    document, check = checked(made, "test-migration-x", status=1)
    assert document["worktree"] == "test-migration-x"
    assert problems(check)[0] == ("leaves-behind", "0003_note")
    assert (path / "db.sqlite3").read_bytes() == before
    held = made.worktrees()["test-migration-x"]["status"]
    assert held == "ready"


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_tool_that_uses_another_database_takes_nothing_back_there(make):
    """As an alembic.ini does that names somebody's own database."""
    made = make('[services.sqlite]\nmigrate = "sh alembic upgrade head"\n')
    log = made.base / "log"
    tool = f'echo "$*" >> {log}; test "$1" != history || echo "<base> -> a (head), x"\n'
    made.write({"alembic": tool}, commit="A tool with a database of its own")
    done = made.run("db", "check", "--json", check=False)
    error = json.loads(done.stdout)["error"]
    assert (done.returncode, error["code"]) == (3, "other-database")
    assert "DATABASE_URL" in error["hint"]
    assert log.read_text().splitlines() == ["history", "upgrade a"]
    made.auditor().assert_nothing()


@pytest.mark.postgres
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_check_that_is_killed_leaves_nothing(make, require_postgres, number):
    made = make('[services.postgres]\nmigrate = "sh alembic upgrade head"\n')
    mark = made.base / "mark"
    tool = f'case "$2" in history) echo "<base> -> a (head), x";; *) touch {mark}; sleep 100;; esac\n'
    made.write({"alembic": tool.replace("$2", "$1")}, commit="A tool that takes long")
    process = made.start("db", "check")
    wait_for(mark, process)
    os.kill(process.pid, number)
    process.communicate(timeout=60)
    assert process.returncode == (-9 if number == signal.SIGKILL else 130)
    made.run("list")
    made.auditor().assert_nothing(within=5.0)


@pytest.fixture(scope="module")
def running(require_postgres):
    with users_server.users_postgres(require_postgres) as server:
        yield server


@pytest.fixture
def server(running):
    """A PostgreSQL that is the user's."""
    running.clear()
    running.sql("CREATE DATABASE testgrove_blank_of_mine OWNER ci")
    return running


@pytest.mark.postgres
def test_a_server_of_the_users_is_left_as_it_was(make, server):
    before = server.databases()
    made = make(POSTGRES + f'host = "{server.url}"\n', **{"0003_note_down": "SELECT 1;", "0002_orders_down": None})
    _, check = checked(made, status=1)
    assert problems(check)[:2] == [("leaves-behind", "0003_note"), ("irreversible", "0002_orders")]
    assert server.databases() == before
    made.write({"sql/0003_note.up.sql": "SELECT pg_sleep(100)"})
    process = made.start("db", "check")
    deadline = time.monotonic() + 60
    while not server.sql("SELECT 1 FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(100)'"):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.kill()
    process.communicate()
    made.run("list")
    assert server.databases() == before
    made.auditor().assert_nothing(within=5.0)


@pytest.mark.postgres
def test_each_version_that_the_settings_name(make, two_servers):
    versions = two_servers[0], two_servers[-1]
    made = make(POSTGRES + f"version = {json.dumps(versions)}\n")
    document, _ = checked(made, status=0)
    assert [each["engine"] for each in document["checks"]] == [f"postgres {version}" for version in versions]


# With the tools themselves


def inside(tools: Path) -> dict[str, str]:
    return {"VIRTUAL_ENV": str(tools)}


@pytest.mark.timeout(600)
@pytest.mark.postgres
def test_with_alembic(grove, require_postgres, tools):
    drop = "op.drop_table(revision)"
    config = '[services.postgres]\nmigrate = "alembic upgrade head"\n'
    made = grove(config=config, files=alembic(a=(None, drop), b=("a", drop)))
    document, check = checked(made, env=inside(tools), status=0)
    assert (check["tool"], check["steps"], check["models"]["result"]) == ("Alembic", ["a", "b"], "same")
    made.write(alembic(a=(None, drop), b=("a", 'raise NotImplementedError("no way back")'), c=("b", drop)))
    document, check = checked(made, env=inside(tools), status=1)
    assert problems(check) == [("models-differ", ""), ("irreversible", "b")]
    assert any("remove_table" in line for line in check["problems"][0]["diff"])
    assert "no way back" in check["problems"][1]["message"]
    made.write(alembic(d=("b", drop)))
    _, check = checked(made, env=inside(tools), status=1)
    assert problems(check) == [("several-heads", "")]
    assert check["problems"][0]["message"].endswith(": c, d")
    made.write(alembic(d=("nonsense", drop)))
    _, check = checked(made, env=inside(tools), status=1)
    assert problems(check) == [("cannot-be-listed", "")]
    assert document["passed"] is False
    made.auditor().assert_nothing()


@pytest.mark.timeout(600)
@pytest.mark.postgres
def test_with_several_bases_of_alembic(grove, require_postgres, tools):
    drop = "op.drop_table(revision)"
    config = '[services.postgres]\nmigrate = "alembic upgrade heads"\n'
    made = grove(config=config, files=alembic(a=(None, drop), c=("a", drop), b=(None, drop)))
    _, check = checked(made, env=inside(tools), status=1)
    assert sorted(check["steps"]) == ["a", "b", "c"]
    assert problems(check) == [("models-differ", "")]  # they have no c; forward, back and forward again are fine
    made.auditor().assert_nothing()


DJANGO = {
    "manage.py": (
        "import os, sys\nos.environ['DJANGO_SETTINGS_MODULE'] = 'site_settings'\n"
        "from django.core.management import execute_from_command_line\nexecute_from_command_line(sys.argv)\n"
    ),
    "site_settings.py": (
        "import os\nSECRET_KEY = 'x'\nINSTALLED_APPS = ['django.contrib.contenttypes', 'shop']\n"
        "DATABASES = {'default': {'ENGINE': 'django.db.backends.sqlite3', 'NAME': os.environ['SQLITE_PATH']}}\n"
        "DEFAULT_AUTO_FIELD = 'django.db.models.BigAutoField'\n"
    ),
    "shop/__init__.py": "",
    "shop/models.py": "from django.db import models\nclass Product(models.Model):\n    name = models.TextField()\n",
    "shop/migrations/__init__.py": "",
    "shop/migrations/0001_initial.py": (
        "from django.db import migrations, models\nclass Migration(migrations.Migration):\n    operations = [\n"
        "        migrations.CreateModel('Product', [('id', models.BigAutoField(primary_key=True, serialize=False,"
        " auto_created=True, verbose_name='ID')), ('name', models.TextField())])]\n"
    ),
}
DATA = (
    "from django.db import migrations\nclass Migration(migrations.Migration):\n"
    "    dependencies = [('shop', '0001_initial')]\n    operations = [migrations.RunPython(lambda *_: None{back})]\n"
)


@pytest.mark.timeout(600)
def test_with_django(grove, tools):
    config = '[services.sqlite]\nmigrate = "python manage.py migrate --noinput"\n'
    made = grove(config=config, files=DJANGO | {"shop/migrations/0002_data.py": DATA.format(back=", lambda *_: None")})
    _, check = checked(made, env=inside(tools), status=0)
    assert check["steps"][1:] == ["shop.0001_initial", "shop.0002_data"]
    assert check["models"]["result"] == "same"
    made.write({"shop/migrations/0002_data.py": DATA.format(back="")})
    made.write({"shop/models.py": DJANGO["shop/models.py"] + "    price = models.IntegerField()\n"})
    _, check = checked(made, env=inside(tools), status=1)
    assert problems(check) == [("models-differ", ""), ("irreversible", "shop.0002_data")]
    assert "Operation" in check["problems"][1]["message"]
    made.write({"shop/migrations/0002_other.py": DATA.format(back="")})
    _, check = checked(made, env=inside(tools), status=1)
    assert check["problems"][0]["message"].endswith(": shop.0002_data, shop.0002_other")
    made.auditor().assert_nothing()


def test_the_databases_file_is_never_the_worktrees(make):
    """Whatever the project's own file is called, the check works on another."""
    made = make()
    own = made.repo / "db.sqlite3"
    with closing(sqlite3.connect(own)) as database:
        database.executescript("CREATE TABLE mine (n int); INSERT INTO mine VALUES (7)")
    before = own.read_bytes()
    checked(made, status=0)
    assert own.read_bytes() == before
