"""Migrations that would go to somebody's real database: judged by what is on that server before and after."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

import users_server
from alembic_project import ENV, alembic
from grove import Grove, said

pytestmark = [pytest.mark.slow, pytest.mark.postgres, pytest.mark.timeout(600)]

# As `alembic init` writes it: the file's URL, and nothing else.
STOCK = """
from alembic import context
from sqlalchemy import engine_from_config, pool
config = context.config
def run_migrations_online():
    section = config.get_section(config.config_ini_section, {})
    connectable = engine_from_config(section, prefix="sqlalchemy.", poolclass=pool.NullPool)
    with connectable.connect() as connection:
        context.configure(connection=connection)
        with context.begin_transaction():
            context.run_migrations()
run_migrations_online()
"""
INI = "[alembic]\nscript_location = m\nsqlalchemy.url = {}\n"
CONFIG = """
[services.postgres]
migrate = "{tools}/bin/alembic upgrade head"
[suites.unit]
command = "true"
purpose = "test-unit"
services = ["postgres"]
"""
TESTS = """
def test_it(database):
    pass

def test_migrations(migrations):
    migrations.upgrade()
"""
DROP = "op.drop_table(revision)"
PLUGGED = (sys.executable, "-m", "pytest", "-p", "no:cacheprovider")


@pytest.fixture(scope="module")
def stranger(require_postgres) -> Iterator[users_server.UsersPostgres]:
    """Somebody's server, with a database `shop` that has an order in it."""
    with users_server.users_postgres(require_postgres) as server:
        server.sql("CREATE DATABASE shop OWNER ci")
        server.sql("CREATE TABLE orders (n int)", database="shop")
        server.sql("INSERT INTO orders VALUES (1)", database="shop")
        yield server


def contents(server: users_server.UsersPostgres) -> object:
    """The databases, and the tables of one with their rows."""
    tables = server.sql("SELECT relname, n_live_tup FROM pg_stat_user_tables ORDER BY 1", database="shop")
    rows = server.sql("SELECT * FROM orders", database="shop")
    return server.databases(), [name for name, _ in tables], rows


def url(server: users_server.UsersPostgres, driver: str = "postgresql+psycopg") -> str:
    """Of `shop`, as a developer would write it into alembic.ini."""
    return f"{driver}://ci:{users_server.QUOTED}@127.0.0.1:{server.port}/shop".replace("%", "%%")


def fixed(server: users_server.UsersPostgres) -> dict[str, str]:
    """A project whose migrations go to the server, whatever the environment says."""
    return alembic(a=(None, DROP)) | {"alembic.ini": INI.format(url(server)), "m/env.py": STOCK}


def refused(project: Grove, *words: str, **options: object) -> str:
    done = project.run(*words, check=False, **options)
    assert done.returncode != 0, said(done)
    return done.stdout + done.stderr


def test_a_fixed_url_is_refused_by_every_command_that_migrates(grove, stranger, tools):
    before = contents(stranger)
    tests = {"tests/test_it.py": TESTS}
    project: Grove = grove(files=fixed(stranger) | tests, config=CONFIG.format(tools=tools))
    ways = {
        "create": ("create", "--purpose", "test-unit", "--identifier", "a", "--branch", "main"),
        "migrate-to": ("create", "--purpose=test-unit", "--identifier=a", "--branch=main", "--migrate-to=a"),
        "test": ("test", "unit"),
        "check": ("db", "check"),
    }
    for name, words in ways.items():
        output = refused(project, *words)
        assert f"alembic.ini:3: sqlalchemy.url names postgres 127.0.0.1:{stranger.port} database 'shop'" in output, name
        assert f'allow_connections = ["127.0.0.1:{stranger.port}"]' in output, name
        assert users_server.PASSWORD not in output
        assert contents(stranger) == before, name
    done = project.run("-q", "tests", program=PLUGGED, check=False)
    assert done.stdout.count("alembic.ini:3: sqlalchemy.url names") >= 2, said(done)
    assert contents(stranger) == before
    assert project.json("create", *ways["create"][1:], check=False)["error"]["code"] == "other-database"
    assert set(project.worktrees()) <= {"test-unit-tree"}


def test_a_worktree_whose_branch_fixes_the_url_later_is_not_migrated(grove, stranger, tools):
    before = contents(stranger)
    overridden = alembic(a=(None, DROP)) | {"alembic.ini": INI.format(url(stranger)), "m/env.py": ENV}
    project: Grove = grove(files=overridden, config=CONFIG.format(tools=tools))
    project.create("test-unit", "a", "--quiet")  # env.py reads the environment: the file's URL means nothing
    tree = project.root / "test-unit-a"
    (tree / "m/env.py").write_text(STOCK)
    for command in ("reset", "migrate"):
        assert "sqlalchemy.url names" in refused(project, "db", command, "a"), command
    (tree / "alembic.ini").write_text(INI.format("driver://user:pass@localhost/dbname"))
    (tree / "m/env.py").write_text(ENV)
    project.run("db", "migrate", "a")
    assert contents(stranger) == before
    project.run("remove", "a", "--force")


def test_a_connection_while_the_migration_runs_ends_it(grove, stranger, tools):
    """This env.py reads the environment, but not for its URL, so nothing is refused beforehand."""
    before = contents(stranger)
    slow = STOCK.replace("as connection:\n", "as connection:\n        __import__('time').sleep(5)\n", 1)
    files = fixed(stranger) | {"m/env.py": "import os\nos.environ.get('EDITOR')\n" + slow}
    project: Grove = grove(files=files, config=CONFIG.format(tools=tools))
    output = refused(project, "create", "--purpose=test-unit", "--identifier=a", "--branch=main")
    assert f"connected to 127.0.0.1:{stranger.port}, which is not its database" in output
    assert "was stopped" in output
    assert f'allow_connections = ["127.0.0.1:{stranger.port}"]' in output
    assert contents(stranger) == before
    assert project.worktrees() == {}


def test_a_migration_that_leaves_its_database_empty_is_an_error_and_no_template(grove, require_postgres):
    suite = '[suites.unit]\ncommand = "true"\npurpose = "test-unit"\nservices = ["{}"]\n'
    for engine in ("postgres", "sqlite"):
        config = f'[services.{engine}]\nmigrate = "echo ran >> {{log}}"\n' + suite.format(engine)
        project: Grove = grove(config="")
        log = project.base / "log"
        text = (project.repo / "testgrove.toml").read_text()
        project.write({"testgrove.toml": config.format(log=log) + text}, commit="a migration")
        for count in (1, 2):
            output = refused(project, "create", "--purpose=test-unit", "--identifier=a", "--branch=main")
            assert "left its database empty; it seems to use another one" in output, output
            assert log.read_text() == "ran\n" * count, "nothing is cached"
        assert project.worktrees() == {}
