"""The variables that a project reads, and what each of them gets."""

from __future__ import annotations

import pytest

from testgrove.core.discovery.mapping import asked_of, connects_without_password, env_lines
from testgrove.core.discovery.python_sources import parse_modules
from testgrove.core.discovery.used_variables import used_variables
from testgrove.core.engines.registry import engine_of

POSTGRES, REDIS = engine_of("postgres"), engine_of("redis")
BOTH = (POSTGRES, REDIS)


def uses(**texts):
    named = {name.replace("__", "/").replace("_py", ".py"): text for name, text in texts.items()}
    return used_variables(named, parse_modules(named))


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ('import os\nHOST = os.environ["DB_HOST"]\n', {"DB_HOST": ""}),
        ('import os\nPORT = int(os.environ.get("REDIS_PORT", 6379))\n', {"REDIS_PORT": "6379"}),
        ('from os import getenv, environ\na = getenv("A", "x")\nb = environ["B"]\n', {"A": "x", "B": ""}),
        ('import environ\nenv = environ.Env()\nU = env.db("DATABASE_URL", default="postgres://x")\n',
         {"DATABASE_URL": "postgres://x"}),
        ('from decouple import config\nU = config("DB_USER")\n', {"DB_USER": ""}),
        ("class Settings(BaseSettings):\n    POSTGRES_SERVER: str\n    postgres_port: int = 5432\n",
         {"POSTGRES_SERVER": "", "POSTGRES_PORT": "5432"}),
        ('class S(BaseSettings):\n    model_config = SettingsConfigDict(env_prefix="shop_")\n    db_host: str\n',
         {"SHOP_DB_HOST": ""}),
        ('class S(BaseSettings):\n    db_host: str\n    class Config:\n        env_prefix = "X_"\n', {"X_DB_HOST": ""}),
        ('registry.get("DB_HOST")\nDB_NAME = "environ"\n', {}),
        ("os.environ[\n", {}),
    ],
)  # fmt: skip
def test_what_code_reads(code, found):
    assert uses(shop_py=code) == found


def test_env_files_compose_files_and_workflows_count_where_code_mentions_the_name():
    texts = {
        "shop/settings.py": "# POSTGRES_SERVER comes from the environment, as does broker_url\n",
        ".env.example": "export POSTGRES_SERVER=db\nPOSTGRES_SECRET=x\n",
        "docker-compose.yml": "services:\n  web:\n    environment:\n      - BROKER_URL=redis://cache/1\n",
        ".github/workflows/ci.yml": "env:\n  POSTGRES_SERVER: localhost\n  OTHER_HOST: x\n",
    }
    assert used_variables(texts, parse_modules(texts)) == {"POSTGRES_SERVER": "db", "BROKER_URL": "redis://cache/1"}


@pytest.mark.parametrize(
    ("name", "example", "value"),
    [
        ("POSTGRES_SERVER", "", "${PGHOST}"),
        ("DB_HOST", "localhost", "${PGHOST}"),
        ("DB_PORT", "5432", "${PGPORT}"),
        ("SHOP_DATABASE_USER", "", "${PGUSER}"),
        ("SQL_PASSWORD", "", "${PGPASSWORD}"),
        ("POSTGRES_DB", "", "${DATABASE_NAME}"),
        ("TEST_DATABASE_URL", "", "${DATABASE_URL}"),
        ("SQLALCHEMY_DATABASE_URI", "postgresql://a:secret@h/x", "${DATABASE_URL}"),
        ("DATABASE_URL", "postgresql+asyncpg://a:secret@h/x?ssl=1",
         "postgresql+asyncpg://${PGUSER}:${PGPASSWORD}@${PGHOST}:${PGPORT}/${DATABASE_NAME}"),
        ("REDIS_SERVER", "", "${REDIS_HOST}"),
        ("CELERY_BROKER_URL", "", "${REDIS_URL}"),
        ("ANY_NAME", "redis://localhost:6379", "${REDIS_URL}"),
        ("CACHE_URL", "redis://localhost:6379/1",
         "redis://default:${REDIS_PASSWORD}@${REDIS_HOST}:${REDIS_PORT}/1"),
        # testgrove gives those anyway
        ("DATABASE_URL", "postgres://a:b@c/d", None),
        ("REDIS_HOST", "localhost", None),
        ("REDIS_URL", "redis://localhost/0", None),
        # and those are not its own
        ("CELERY_BROKER_URL", "amqp://localhost", None),
        ("SMTP_HOST", "", None),
        ("DB_ENGINE", "", None),
        ("POSTGRES_HOST_AUTH_METHOD", "trust", None),
    ],
)  # fmt: skip
def test_what_a_variable_gets(name, example, value):
    assert env_lines({name: example}, BOTH) == ({name: value} if value else {})


def test_a_variable_without_an_engines_name_means_the_database_that_there_is():
    assert asked_of("DB_HOST", "", [REDIS]) is None
    assert env_lines({"DB_HOST": "", "REDIS_SERVER": ""}, [REDIS]) == {"REDIS_SERVER": "${REDIS_HOST}"}


@pytest.mark.parametrize(
    ("names", "without"),
    [
        ({"REDIS_HOST": ""}, True),
        ({"REDIS_HOST": "", "REDIS_PORT": "", "REDIS_PASSWORD": ""}, False),
        ({"REDIS_HOST": "", "BROKER": "redis://x"}, False),
        ({"REDIS_PORT": ""}, False),
        ({}, False),
    ],
)
def test_a_project_that_gives_no_password(names, without):
    assert connects_without_password(names, REDIS) == without
