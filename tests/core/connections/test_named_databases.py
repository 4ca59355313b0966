"""The databases that files name, and who overrides whom."""

import pytest

from testgrove.core.connections import named_databases as named

ENVIRON = {"DATABASE_URL": "postgresql://me@127.0.0.1:15001/ours", "PGHOST": "127.0.0.1", "PGPORT": "15001"}
INI = "[alembic]\nscript_location = {location}\n# the database\nsqlalchemy.url = {url}\n\n[loggers]\nkeys = root\n"
OFFLINE = "def run_migrations_offline():\n    context.configure(url=config.get_main_option('sqlalchemy.url'))\n"
ONLINE = "connectable = engine_from_config(config.get_section(config.config_ini_section), prefix='sqlalchemy.')\n"


def shown(found):
    return [(each.line, each.key, *map(str, each.leads_to)) for each in found]


def test_an_alembic_ini_names_its_url_with_file_and_line():
    text = INI.format(location="m", url="postgresql+psycopg://shop:secret@db.example:5432/shop")
    found = list(named.in_alembic_ini("alembic.ini", text, "/tree", ENVIRON))
    assert shown(found) == [(4, "sqlalchemy.url", "postgres db.example:5432 database 'shop'")]
    assert "secret" not in repr(found)


@pytest.mark.parametrize(
    "url",
    [
        "driver://user:pass@localhost/dbname",
        "",
        "%(DB_URL)s",
        "${DATABASE_URL}",
        "postgresql://${HOST}:5432/x",
        "oracle://scott@db.example/x",
    ],
    ids=["stock", "none", "of-env-py", "of-the-shell", "in-part", "another-engine"],
)
def test_a_placeholder_names_nothing(url):
    assert list(named.in_alembic_ini("alembic.ini", INI.format(location="m", url=url), "/tree", ENVIRON)) == []


@pytest.mark.parametrize(
    ("text", "folder"),
    [("m", "m"), ("%(here)s/db/m", "/a b/db/m"), ("shop:migrations", "shop/migrations")],
)
def test_env_py_is_where_the_file_says(text, folder):
    assert named.script_location(INI.format(location=text, url=""), "/a b") == folder
    assert named.script_location("[alembic]\n", "/a b") == "."


@pytest.mark.parametrize(
    "text",
    [
        "import os\nurl = os.environ['DATABASE_URL']\n" + ONLINE,
        "from os import getenv\nurl = getenv('DATABASE_URL')\n" + ONLINE,
        "config.set_main_option('sqlalchemy.url', settings.url)\n" + ONLINE,
        "section = config.get_section('alembic')\nsection['sqlalchemy.url'] = settings.url\n" + ONLINE,
        "engine_from_config({'sqlalchemy.url': settings.url})\n",
        "engine_from_config(config.get_section('alembic'), url=settings.url)\n",
        OFFLINE + "connectable = create_engine(settings.url)\n",
        "from shop.db import engine as connectable\n",
    ],
)
def test_an_env_py_that_takes_its_url_from_elsewhere_overrides_the_file(text):
    assert named.overrides_url(text)


@pytest.mark.parametrize(
    "text", [OFFLINE + ONLINE, "engine = create_engine(config.get_main_option('sqlalchemy.url'))\n", "def broken(\n"]
)
def test_an_env_py_that_reads_only_the_file_does_not(text):
    assert not named.overrides_url(text)


def test_an_env_file_counts_where_the_environment_does_not_say_otherwise():
    text = (
        "# ours\nDATABASE_URL=postgres://dev@localhost:5432/dev\n"
        "export SHOP_DB='postgresql://dev@db.example:5432/shop' # why\n"
        "TEST_DATABASE_URL=postgres://localhost/test\nCACHE=redis://db.example\nNAME=shop\nMYSQL=mysql://db.example/x\n"
    )
    shop = (3, "SHOP_DB", "postgres db.example:5432 database 'shop'")
    mysql = (7, "MYSQL", "mysql db.example:3306 database 'x'")
    assert shown(named.in_env_file(".env", text, ENVIRON, comes_first=False)) == [shop, mysql]
    over = (2, "DATABASE_URL", "postgres localhost:5432 database 'dev'")
    assert shown(named.in_env_file(".env", text, ENVIRON, comes_first=True)) == [over, shop, mysql]
    assert named.lets_env_file_win("load_dotenv(\n    '.env', override=True)")
    assert named.lets_env_file_win("env.read_env(overwrite=True)")
    assert not named.lets_env_file_win("load_dotenv()\nsettings(override=True)")


def django(entry):
    return f'DATABASES = {{\n    "default": {entry},\n    "other": {{"ENGINE": "x", "HOST": "other.example"}},\n}}\n'


POSTGRES = '"ENGINE": "django.db.backends.postgresql"'


@pytest.mark.parametrize(
    ("entry", "leads_to"),
    [
        (f'{{{POSTGRES}, "HOST": "db.example", "PORT": 5433}}', "postgres db.example:5433"),
        (f'{{{POSTGRES}, "HOST": "", "NAME": "shop"}}', "postgres 127.0.0.1:15001 database 'shop'"),
        (f'{{{POSTGRES}, "NAME": "shop"}}', "postgres 127.0.0.1:15001 database 'shop'"),
        (f'{{{POSTGRES}, "HOST": os.environ["PGHOST"]}}', "postgres 127.0.0.1:15001"),
        (f'{{{POSTGRES}, "HOST": os.environ.get("DB_HOST", "localhost"), "PORT": env("DB_PORT", default="5432")}}',
         "postgres localhost:5432"),
        ('dj_database_url.parse("postgres://db.example:5432/shop")', "postgres db.example:5432 database 'shop'"),
        ('{"ENGINE": "django.db.backends.mysql", "HOST": "db.example"}', "mysql db.example:3306"),
        (f'{{{POSTGRES}, "HOST": settings.host}}', ""),
        ('{"ENGINE": "django.db.backends.sqlite3", "NAME": BASE_DIR / "db.sqlite3"}', ""),
        ('dj_database_url.config(default="postgres://db.example/shop")', ""),
    ],
)  # fmt: skip
def test_djangos_settings_name_what_can_be_told_without_running_them(entry, leads_to):
    found = named.in_django_settings("shop/settings.py", django(entry), "default", ENVIRON)
    assert [str(one) for each in found for one in each.leads_to] == [leads_to] * bool(leads_to)


def test_settings_that_may_be_another_one_are_not_judged():
    fixed = django(f'{{{POSTGRES}, "HOST": "db.example"}}')
    assert named.in_django_settings("s.py", fixed + "DATABASES['default'] = env.db()\n", "default", ENVIRON) == []
    assert named.in_django_settings("s.py", "from .base import *\n", "default", ENVIRON) is None
    assert named.star_imports("from .base import *\nfrom shop import *\nfrom x import y\n") == [
        ".base",
        "shop",
    ]


def test_the_settings_module_is_the_commands_the_environments_or_that_of_manage_py():
    manage = "os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'shop.settings')"
    assert named.settings_module("python manage.py migrate", manage, {}) == "shop.settings"
    assert named.settings_module("x", manage, {"DJANGO_SETTINGS_MODULE": "shop.test"}) == "shop.test"
    assert named.settings_module("x --settings=shop.ci", manage, {"DJANGO_SETTINGS_MODULE": "shop.test"}) == "shop.ci"
