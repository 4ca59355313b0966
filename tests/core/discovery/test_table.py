"""The settings that `init` writes: what is found, and that what is written is read as meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from testgrove.core.discovery.migrations import Migration
from testgrove.core.discovery.project import Found, find
from testgrove.core.discovery.table import table, with_root
from testgrove.core.settings.parse import parse

UNIT_AND_MORE = ["tests/unit/test_a.py", "tests/integration/test_b.py", "tests/performance/test_c.py"]
ALEMBIC = ["alembic.ini", "migrations/env.py", "src/shop/__init__.py", *UNIT_AND_MORE]
DJANGO = ["manage.py", "shop/settings.py", "shop/migrations/0001_initial.py", "shop/tests/test_a.py"]
SQL = ["db/migrations/001_a.sql", "db/migrations/002_b.sql", "tests/test_a.py"]


def settings(files, texts, *, prefix="tool.testgrove", root=""):
    text = table(find(files, texts), prefix=prefix, root=root)
    return parse(text, Path("pyproject.toml"), table=bool(prefix))


def test_suites_and_their_needs():
    found = settings(ALEMBIC, {"pyproject.toml": '[project]\ndependencies = ["psycopg[binary]>=3", "celery[redis]"]\n'})
    assert list(found.suites) == ["unit", "integration", "performance"]
    assert (found.suites["unit"].services, found.suites["unit"].ports) == ((), False)
    assert (found.suites["integration"].services, found.suites["integration"].ports) == (("postgres", "redis"), True)
    assert found.suites["performance"].purpose == "test-performance"
    assert found.services["postgres"].migrate == "alembic upgrade head"


@pytest.mark.parametrize(
    ("texts", "services"),
    [
        ({}, []),
        ({"requirements.txt": "# psycopg\nflask\nredis-lock\n"}, []),
        ({"requirements.txt": "psycopg2-binary==2.9\n"}, ["postgres"]),
        ({"requirements/dev.txt": "-r base.txt\nRedis>=5\n"}, ["redis"]),
        ({"pyproject.toml": '[dependency-groups]\ntest = ["asyncpg"]\n'}, ["postgres"]),
        ({"pyproject.toml": '[tool.poetry.group.dev.dependencies]\npsycopg = "*"\n'}, ["postgres"]),
        ({"setup.py": "from setuptools import setup\nsetup(extras_require={'db': ['pg8000']})\n"}, ["postgres"]),
        ({"docker-compose.yml": "services:\n  db:\n    image: postgres:16\n"}, ["postgres"]),
        ({"compose.yaml": "services:\n  a:\n    image: 'docker.io/valkey/valkey'\n  # image: postgres\n"}, ["redis"]),
    ],
)
def test_services(texts, services):
    assert list(settings(UNIT_AND_MORE, texts).services) == services


@pytest.mark.parametrize(
    ("files", "texts", "migrate"),
    [
        (ALEMBIC, {}, "alembic upgrade head"),
        (ALEMBIC, {"requirements.txt": "pymysql\n"}, None),
        (DJANGO, {"requirements.txt": "django\n"}, None),
        (DJANGO, {"requirements.txt": "django\npsycopg\n"}, "python manage.py migrate --noinput"),
        (SQL, {}, "for file in db/migrations/*.sql; do psql -q -v ON_ERROR_STOP=1 -f $file || exit 1; done"),
        ([*SQL, "other/sql/x.sql"], {}, None),
    ],
)
def test_the_migration_tool(files, texts, migrate):
    postgres = settings(files, texts).services.get("postgres")
    assert (postgres.migrate if postgres else None) == migrate


def test_one_folder_of_tests_is_one_suite():
    assert {name: suite.command for name, suite in settings(SQL, {}).suites.items()} == {"tests": "pytest"}
    assert settings([], {}).suites == {}


def test_the_root_and_the_versions_that_are_declared():
    text = (
        '[project]\nclassifiers = ["Programming Language :: Python :: 3.9", "Programming Language :: Python :: 3.12"]\n'
    )
    written = table(find(DJANGO, {"pyproject.toml": text}), prefix="", root="worktrees")
    assert '\n# pythons = ["3.9", "3.12"] ' in written
    assert "flat layout" in written
    assert parse(written, Path("testgrove.toml"), table=False).root == "worktrees"


@pytest.mark.parametrize(
    "text",
    [
        "[tool.testgrove]\npark = 2\n",
        "[project]\nname = 'x'\n[tool.testgrove]   # mine\npark = 2\n[tool.testgrove.ports]\nnames = ['a']\n[tool.x]\n",
        "[tool.testgrove.services.redis]\n\n[tool.other]\nx = 1\n",
        table(find(ALEMBIC, {}), prefix="tool.testgrove"),
    ],
)
def test_a_root_is_added_and_the_rest_stays(text):
    changed = with_root(text, "worktrees", prefix="tool.testgrove")
    before, after = (parse(each, Path("pyproject.toml"), table=True) for each in (text, changed))
    assert after.root == "worktrees"
    assert (after.park, after.ports, after.services, after.suites) == (
        before.park, before.ports, before.services, before.suites,
    )  # fmt: skip
    assert {line for line in text.splitlines() if "<repository>" not in line} <= set(changed.splitlines())


def test_variables_and_a_server_without_a_password():
    code = 'import os, redis\nc = redis.Redis(os.environ.get("REDIS_HOST"), int(os.environ["CACHE_REDIS_PORT"]))\n'
    found = settings(UNIT_AND_MORE, {"requirements.txt": "redis\npsycopg\n", "a.py": code + 'os.getenv("DB_HOST")\n'})
    assert found.env == {"CACHE_REDIS_PORT": "${REDIS_PORT}", "DB_HOST": "${PGHOST}"}
    assert found.services["redis"].settings == {"requirepass": ""}
    with_password = settings([], {"requirements.txt": "redis\n", "a.py": code + 'os.getenv("REDIS_PASSWORD")\n'})
    assert with_password.services["redis"].settings == {}


def test_an_engine_that_django_has_no_backend_for_is_never_named_literally():
    code = "import os, redis\nDEFAULTS = {'NAME': 'x', 'HOST': 'y'}\nos.getenv('REDIS_URL')\n"
    assert find([], {"requirements.txt": "redis\n", "a.py": code}).literal == {}


def test_no_value_of_an_env_file_is_copied():
    texts = {"requirements.txt": "asyncpg\n", "a.py": "# DATABASE_URL\n",
             ".env": "DATABASE_URL=postgresql+asyncpg://me:hunter2@prod.example/real\n"}  # fmt: skip
    written = table(find(UNIT_AND_MORE, texts), prefix="")
    assert 'DATABASE_URL = "postgresql+asyncpg://${PGUSER}:${PGPASSWORD}@' in written
    assert not {"hunter2", "prod.example", "me:"} & set(written.replace("@", ":").split(":"))


@pytest.mark.parametrize(
    ("texts", "services"),
    [
        ({"requirements.txt": "celery[redis]\n", "shop/a.py": "import celery\n"}, []),
        ({"requirements.txt": "celery[redis]\n", "shop/a.py": "BROKER = 'redis://localhost'\n"}, ["redis"]),
        ({"requirements.txt": "redis\n", "shop/a.py": "from redis.asyncio import Redis\n"}, ["redis"]),
        ({"requirements.txt": "redis\n", "a.py": "", ".env.example": "X=redis://cache\n"}, ["redis"]),
        ({"compose.yaml": "services:\n  redis:\n    image: redis\n", "a.py": "# predis\n"}, []),
        ({".github/workflows/ci.yml": "    services:\n      db:\n        image: postgres:16\n"}, ["postgres"]),
    ],
)
def test_a_redis_that_nothing_mentions_is_not_declared(texts, services):
    assert list(settings(UNIT_AND_MORE, texts).services) == services


@pytest.mark.parametrize(
    ("names", "pattern"),
    [
        (("1_a.sql", "1_a.down.sql"), None),
        (("1_a.up.sql", "1_a.down.sql"), "db/sql/*.up.sql"),
        (("1_a.up.sql", "1_a_down.sql"), "db/sql/*.up.sql"),
        (("1_a.sql",), "db/sql/*.sql"),
    ],
)
def test_what_leads_back_is_no_migration(names, pattern):
    found = settings([f"db/sql/{name}" for name in names], {"requirements.txt": "psycopg\n"})
    migrate = found.services["postgres"].migrate
    assert migrate.startswith(f"for file in {pattern};") if pattern else migrate == ""


def test_several_bases_of_alembic_have_several_heads():
    texts = {f"migrations/versions/{name}.py": "down_revision: str | None = None\n" for name in "ab"}
    assert settings([*ALEMBIC, *texts], texts).services["postgres"].migrate == "alembic upgrade heads"
    del texts["migrations/versions/b.py"]
    assert settings([*ALEMBIC, *texts], texts).services["postgres"].migrate == "alembic upgrade head"


def test_processes_are_started_for_tests_of_the_whole():
    files = ["main.py", "tests/unit/test_a.py", "tests/e2e/test_b.py"]
    found = settings(files, {"main.py": "app = FastAPI()\nworker = Celery()\n"})
    assert list(found.processes) == ["api", "worker"]
    assert (found.suites["unit"].processes, found.suites["e2e"].processes) == ((), ("api", "worker"))


@pytest.mark.parametrize(
    ("host", "more", "told"),
    [
        ('"HOST": "db"', "", True),
        ('"PORT": 5432', "", True),
        ('"HOST": env("DB_HOST")', "", False),
        ('"HOST": "ci"', 'if not CI:\n    DATABASES["default"] = env.db("DATABASE_URL")\n', False),
    ],
)
def test_a_server_that_django_names_literally_is_told(host, more, told):
    text = f'DATABASES = {{"default": {{"ENGINE": "django.db.backends.postgresql", "NAME": "shop", {host}}}}}\n{more}'
    written = table(find(DJANGO, {"requirements.txt": "psycopg\n", "shop/settings.py": text}), prefix="")
    assert ("# shop/settings.py names a server literally. Read these variables there: PGHOST, " in written) == told


def test_a_migration_in_the_only_folder_that_has_one_runs_there():
    backend = ["backend/alembic.ini", "backend/app/alembic/env.py", "backend/tests/test_a.py", "compose.yml"]
    texts = {"compose.yml": "services:\n  db:\n    image: postgres:17\n"}
    service = settings(backend, texts).services["postgres"]
    assert (service.migrate, service.directory) == ("alembic upgrade head", "backend")
    at_top = settings([*backend, "alembic.ini"], texts).services["postgres"]
    assert (at_top.migrate, at_top.directory) == ("alembic upgrade head", "")
    for more in ("worker/alembic.ini", "docs/alembic.ini"):
        several = settings([*backend, more], texts).services["postgres"]
        assert several.directory == ("backend" if more.startswith("docs") else ""), more


def test_one_of_several_engines_with_migrations_gets_the_projects():
    text = table(Found({}, ("sqlite", "postgres"), Migration("alembic upgrade head")), prefix="")
    of_sqlite, of_postgres = text.partition("[services.postgres]")[::2]
    assert '\nmigrate = "alembic upgrade head"' in of_postgres
    assert "alembic" not in of_sqlite.partition("[services.sqlite]")[2]
