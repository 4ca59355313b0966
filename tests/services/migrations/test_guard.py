"""Which files stop a migration before it runs: those of Alembic, of Django, and .env files."""

from __future__ import annotations

import pytest

from testgrove.core.model import DatabaseAccess
from testgrove.core.secret import Secret
from testgrove.core.settings.types import Settings
from testgrove.errors import PreconditionError
from testgrove.services.migrations.guard import permitted_for_migration, refuse_other_databases

ACCESS = DatabaseAccess("postgres", "testdb_unit_a", "127.0.0.1", 15001, "me", Secret("secret"))
ENV = {"DATABASE_URL": ACCESS.url(), "PGHOST": "127.0.0.1", "PGPORT": "15001", "PGDATABASE": ACCESS.name}
DEV = "postgresql://dev@localhost:5432/shop"
INI = f"[alembic]\nscript_location = m\nsqlalchemy.url = {DEV}\n"
ENV_PY = "connectable = engine_from_config(config.get_section('alembic'))\n"
MANAGE = "import os\nos.environ.setdefault('DJANGO_SETTINGS_MODULE', 'shop.settings')\n"
SETTINGS = 'DATABASES = {"default": {"ENGINE": "django.db.backends.postgresql", "HOST": %s, "PORT": 5432}}\n'


def judged(tree, command: str, *, allowed: tuple[str, ...] = (), access: DatabaseAccess = ACCESS, env=ENV, **files):
    """The place that stops the command; empty where nothing does. files: the text of each, by its path."""
    for name, text in files.pop("files", files).items():
        path = tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    try:
        permitted = permitted_for_migration({access.engine: access}, Settings(allow_connections=allowed), tree, env)
        refuse_other_databases(command, tree=tree, env=env, permitted=permitted)
    except PreconditionError as error:
        return f"{error.details['file']}:{error.details['line']}:{error.details['key']}"
    return ""


@pytest.mark.parametrize(
    ("command", "folder", "name"),
    [
        ("alembic upgrade head", "", "alembic.ini"),
        ("make migrate", "", "alembic.ini"),
        ("cd api && alembic upgrade head", "api/", "alembic.ini"),
        ("alembic -c etc/migrations.ini upgrade head", "etc/", "migrations.ini"),
        ("alembic --config=etc/migrations.ini upgrade head", "etc/", "migrations.ini"),
    ],
)
def test_alembics_file_stops_the_command_that_reads_it(tmp_path, command, folder, name):
    files = {f"{folder}{name}": INI, f"{folder}m/env.py": ENV_PY}
    assert judged(tmp_path, command, files=files) == f"{folder}{name}:3:sqlalchemy.url"
    assert judged(tmp_path, command, allowed=("127.0.0.1:5432",)) == ""
    assert judged(tmp_path, "psql -f schema.sql") == ""
    assert judged(tmp_path, command, files={f"{folder}m/env.py": "import os\nos.environ['X']\n" + ENV_PY}) == ""


@pytest.mark.parametrize(
    ("command", "env"),
    [
        ("alembic -c 'etc/migrations.ini' upgrade head", {}),
        ("ALEMBIC_CONFIG=etc/migrations.ini alembic upgrade head", {}),
        ("alembic upgrade head", {"ALEMBIC_CONFIG": "etc/migrations.ini"}),
    ],
)
@pytest.mark.parametrize("folder", ["m", "src/m"])
def test_alembics_folder_is_relative_to_the_current_one(tmp_path, command, env, folder):
    files = {"etc/migrations.ini": INI, f"{folder}/env.py": ENV_PY}
    assert judged(tmp_path, command, files=files, env=ENV | env) == "etc/migrations.ini:3:sqlalchemy.url"


def test_the_env_py_that_alembic_reads_counts_and_not_another_one(tmp_path):
    command, reads = "alembic -c etc/migrations.ini upgrade head", "import os\nos.environ['X']\n" + ENV_PY
    files = {"etc/migrations.ini": INI, "m/env.py": ENV_PY, "etc/m/env.py": reads}
    assert judged(tmp_path, command, files=files) == "etc/migrations.ini:3:sqlalchemy.url"
    here = INI.replace("= m", "= %(here)s/m")
    assert judged(tmp_path, command, files={"etc/migrations.ini": here}) == ""
    assert judged(tmp_path, command, files={"m/env.py": reads, "etc/m/env.py": ENV_PY}) != ""


def test_a_url_of_the_server_that_is_given_is_no_other_one(tmp_path):
    own = INI.replace(DEV, "postgresql://x@localhost:15001/anything")
    assert judged(tmp_path, "alembic upgrade head", files={"alembic.ini": own, "m/env.py": ENV_PY}) == ""
    theirs = DatabaseAccess(
        "postgres", "t", "db", 1, "u", Secret(""), external_url=Secret("postgresql://u@db.example:5432/t")
    )
    files = {"alembic.ini": INI.replace("localhost:5432/shop", "db.example:5432/t")}
    assert judged(tmp_path, "alembic upgrade head", access=theirs, env={}, files=files) == ""
    files = {"alembic.ini": INI.replace("localhost:5432/shop", "db.example:5432/shop")}
    assert (
        judged(tmp_path, "alembic upgrade head", access=theirs, env={}, files=files) == "alembic.ini:3:sqlalchemy.url"
    )


@pytest.mark.parametrize(
    ("host", "where"),
    [
        ('"db.example"', "shop/settings.py:1:DATABASES['default']"),
        ('os.environ.get("DB_HOST", "localhost")', "shop/settings.py:1:DATABASES['default']"),
        ('os.environ.get("PGHOST", "localhost")', "shop/settings.py:1:DATABASES['default']"),  # at port 5432
        ("settings.host", ""),
    ],
)
def test_djangos_settings_stop_migrate(tmp_path, host, where):
    files = {"manage.py": MANAGE, "shop/__init__.py": "", "shop/settings.py": SETTINGS % host}
    assert judged(tmp_path, "python manage.py migrate", files=files) == where
    assert judged(tmp_path, "python manage.py migrate --database=other") == ""
    assert judged(tmp_path, "python manage.py migrate --settings shop.gone") == ""


def test_settings_in_a_package_are_followed_to_where_the_databases_are(tmp_path):
    files = {
        "site/manage.py": MANAGE,
        "site/shop/settings/__init__.py": "from .local import *\n",
        "site/shop/settings/local.py": "from .base import *\nDEBUG = True\n",
        "site/shop/settings/base.py": "X = 1\n" + SETTINGS % '"db.example"',
    }
    found = judged(tmp_path, "cd site && python manage.py migrate", files=files)
    assert found == "site/shop/settings/base.py:2:DATABASES['default']"


def test_a_second_database_that_migrate_does_not_touch_stops_nothing(tmp_path):
    legacy = '{"ENGINE": "django.db.backends.postgresql", "HOST": "db.example"}'
    text = f'DATABASES = {{"default": env.db(), "legacy": {legacy}}}\n'
    files = {"manage.py": MANAGE, "shop/settings.py": text}
    assert judged(tmp_path, "python manage.py migrate", files=files) == ""
    assert judged(tmp_path, "python manage.py migrate --database legacy") == "shop/settings.py:1:DATABASES['legacy']"


def test_an_env_file_stops_what_it_would_lead_elsewhere(tmp_path):
    tree = tmp_path / "tree"
    files = {".env": f"DATABASE_URL={DEV}\n", "app.py": "load_dotenv()\n"}
    assert judged(tree, "python app.py", files=files) == "", "the environment comes first"
    assert judged(tree, "python app.py", files={"app.py": "load_dotenv(override=True)\n"}) == ".env:1:DATABASE_URL"
    assert judged(tree, "make", files={"app.py": "", ".env": f"X=1\nSHOP_URL='{DEV}'\n"}) == ".env:2:SHOP_URL"
    (tree / ".env").unlink()
    (tmp_path / ".env").write_text(f"SHOP_URL={DEV}\n")
    assert judged(tree, "make") == "", "python-dotenv alone looks above"
    assert judged(tree, "make", files={"app.py": "from dotenv import load_dotenv\n"}) == f"{tmp_path}/.env:1:SHOP_URL"
    assert judged(tree, "make", allowed=("localhost:5432",)) == ""


def test_files_that_cannot_be_read_stop_nothing(tmp_path):
    files = {"alembic.ini": "no ini at all", "manage.py": MANAGE, "shop/settings.py": "def broken(", ".env": "\0\n"}
    for command in ("alembic upgrade head", "python manage.py migrate", "make migrate"):
        assert judged(tmp_path, command, files=files) == ""
