"""The recipes of the documentation, as they stand there, in an environment with the drivers that they are for."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

# One worker makes the environment, and the template, for all of them.
pytestmark = [pytest.mark.slow, pytest.mark.postgres, pytest.mark.xdist_group("plugged")]

PAGE = Path(__file__).parents[2] / "docs" / "recipes.md"
RECIPES = dict(re.findall(r"<!-- recipe: (\S+) -->\n```python\n(.*?)```", PAGE.read_text(), re.DOTALL))
MODELS = """
from django.db import models

class Thing(models.Model):
    name = models.TextField(unique=True)
"""
MIGRATION = """
from django.db import migrations, models

def first(apps, schema_editor):
    with open({count!r}, "a") as file:
        file.write("x\\n")
    apps.get_model("shop", "Thing").objects.create(name="first")

class Migration(migrations.Migration):
    dependencies = []
    operations = [
        migrations.CreateModel("Thing", [("id", models.BigAutoField(primary_key=True)),
                                         ("name", models.TextField(unique=True))]),
        migrations.RunPython(first),
    ]
"""
SETTINGS = """
SECRET_KEY = "none"
INSTALLED_APPS = ["shop"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
"""
MANAGE = """
import os, sys
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")
from django.core.management import execute_from_command_line
execute_from_command_line(sys.argv)
"""
INI = """[pytest]
DJANGO_SETTINGS_MODULE = settings
pythonpath = . ..
asyncio_mode = auto
asyncio_default_fixture_loop_scope = function
"""
CONFIG = """
[services.postgres]
migrate = "python manage.py migrate"
inputs = ["shop/**", "settings.py"]
[suites.django]
command = "{python} manage.py test --keepdb --parallel 2 runner"
services = ["postgres"]
"""
# Two in a row, that each would meet what the other has written.
TESTS = {
    "psycopg": """
@pytest.mark.parametrize("number", range(2))
def test_it(connection, number):
    assert connection.execute("SELECT name FROM shop_thing").fetchall() == [("first",)]
    connection.execute("INSERT INTO shop_thing (name) VALUES ('same')")
    connection.commit()
""",
    "psycopg-transaction": """
@pytest.mark.testgrove_database(isolation="transaction")
@pytest.mark.parametrize("number", range(2))
def test_it(connection, number):
    assert connection.execute("SELECT name FROM shop_thing").fetchall() == [("first",)]
    with connection.transaction():
        connection.execute("INSERT INTO shop_thing (name) VALUES ('same')")
""",
    "sqlalchemy": """
from sqlalchemy import text

@pytest.mark.parametrize("number", range(2))
def test_it(session, number):
    assert session.scalars(text("SELECT name FROM shop_thing")).all() == ["first"]
    session.execute(text("INSERT INTO shop_thing (name) VALUES ('same')"))
    session.commit()
""",
    "sqlalchemy-async": """
from sqlalchemy import text

@pytest.mark.parametrize("number", range(2))
async def test_it(session, number):
    assert (await session.scalars(text("SELECT name FROM shop_thing"))).all() == ["first"]
    await session.execute(text("INSERT INTO shop_thing (name) VALUES ('same')"))
    await session.commit()
    assert len((await session.scalars(text("SELECT name FROM shop_thing"))).all()) == 2
""",
    "django": """
from shop.models import Thing
from django.db import connection
from django.test import TestCase

def write():
    assert [thing.name for thing in Thing.objects.all()] == ["first"]
    Thing.objects.create(name="same")

@pytest.mark.django_db
@pytest.mark.parametrize("number", range(4))
def test_it(number):
    write()

class TestIt(TestCase):
    def test_it(self):
        write()

@pytest.mark.parametrize("number", range(3))
def test_committed(fresh_db, number):
    write()
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE beside (n int)")
""",
}
MARKED = '@pytest.mark.testgrove_database(isolation="transaction")\n@pytest.mark.parametrize'
ALL = TESTS | {
    f"{name}-transaction": TESTS[name].replace("@pytest.mark.parametrize", MARKED)
    for name in ("sqlalchemy", "sqlalchemy-async")
}
RUNNER = """
from django.test import TestCase, TransactionTestCase
from shop.models import Thing

class One(TestCase):
    def test_it(self):
        self.assertEqual([thing.name for thing in Thing.objects.all()], ["first"])
        Thing.objects.create(name="same")

class Other(One):
    pass

class Third(One):
    pass
"""


@pytest.fixture(scope="module")
def made():
    """One project for all, so that the migration runs once."""
    from grove import new_base, plant, uproot

    base = new_base()
    yield plant(base)
    uproot(base)


@pytest.fixture
def project(made, require_postgres, plugged_python):
    config = made.repo / "testgrove.toml"
    if "services" not in config.read_text():
        text = CONFIG.format(python=plugged_python) + config.read_text()
        migration = MIGRATION.format(count=str(made.base / "migrations"))
        shop = {"shop/__init__.py": "", "shop/models.py": MODELS, "shop/migrations/__init__.py": ""}
        files = {"testgrove.toml": text, "settings.py": RECIPES["django-settings"] + SETTINGS, "manage.py": MANAGE}
        runner = {"runner/__init__.py": "", "runner/tests.py": RUNNER, "runner/test_it.py": RUNNER}
        made.write({**files, **shop, **runner, "shop/migrations/0001_initial.py": migration, "pytest.ini": INI})
    return made


@pytest.fixture
def run(project, plugged_python):
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        program = (plugged_python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:randomly")
        # What the settings need to be read; no test connects there.
        environ = {"TESTGROVE": str(Path(sys.executable).with_name("testgrove"))}
        environ["DATABASE_URL"] = "postgresql://no/where"
        return project.run(*arguments, program=program, env=environ, check=False)

    return run


def migrations(project) -> int:
    file = project.base / "migrations"
    return file.read_text().count("x") if file.exists() else 0


def test_the_page_has_a_test_for_every_recipe():
    assert set(RECIPES) == {*ALL, "django-settings", "django-two"}  # the last in test_two_databases.py


@pytest.mark.parametrize("recipe", ALL)
def test_the_recipe_works(project, run, recipe):
    project.write({f"{recipe}/conftest.py": RECIPES[recipe], f"{recipe}/test_it.py": "import pytest\n" + ALL[recipe]})
    before = migrations(project)
    done = run(recipe)
    count = 8 if recipe == "django" else 2
    assert re.search(rf"^{count} passed", done.stdout, re.MULTILINE), done.stdout + done.stderr
    assert migrations(project) - before <= 1
    project.auditor().assert_nothing(within=5.0)


def test_no_worker_of_djangos_migrates(project, run):
    project.write({"django/conftest.py": RECIPES["django"], "django/test_it.py": "import pytest\n" + ALL["django"]})
    before = migrations(project)
    done = run("-n", "3", "django")
    assert "8 passed" in done.stdout, done.stdout + done.stderr
    assert migrations(project) - before <= 1, "the template, where this test is the first"


def test_djangos_own_runner_migrates_nothing(project, plugged_python):
    project.git("add", "--all")
    before = migrations(project)
    environment = str(Path(plugged_python).parents[1])
    done = project.run("test", "django", "--here", env={"VIRTUAL_ENV": environment}, check=False)
    (log,) = project.runs()[-1].glob("*/output.log")
    assert done.returncode == 0, done.stdout + done.stderr + log.read_text()
    assert "Ran 6 tests" in log.read_text()
    assert migrations(project) == before + 1, "the template of this environment"
    project.auditor().assert_no_leftovers(within=2.0)
