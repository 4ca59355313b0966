"""The recipe for Django with two databases, each a service with its own migration."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.postgres, pytest.mark.xdist_group("plugged")]

PAGE = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text()
RECIPE = re.search(r"<!-- recipe: django-two -->\n```python\n(.*?)```", PAGE, re.DOTALL)[1]
CONFIG = """
[services.postgres]
migrate = "python manage.py migrate"
inputs = ["shop/**", "settings.py"]
[services.analytics]
engine = "postgres"
migrate = "python manage.py migrate --database analytics"
inputs = ["shop/**", "settings.py"]
"""
SETTINGS = """
import os
from urllib.parse import urlsplit

def at(url):
    parts = urlsplit(url)
    found = {"NAME": parts.path[1:], "HOST": parts.hostname, "PORT": parts.port, "USER": parts.username}
    return {"ENGINE": "django.db.backends.postgresql", "PASSWORD": parts.password, **found}

DATABASES = {
    "default": at(os.environ["DATABASE_URL"]),
    "analytics": at(os.environ.get("ANALYTICS_URL", os.environ["DATABASE_URL"])),
}
SECRET_KEY = "none"
INSTALLED_APPS = ["shop"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
"""
MODELS = """
from django.db import models

class Thing(models.Model):
    name = models.TextField(unique=True)
"""
MIGRATION = """
from django.db import migrations, models

def first(apps, schema_editor):
    alias = schema_editor.connection.alias
    apps.get_model("shop", "Thing").objects.using(alias).create(name=alias)

class Migration(migrations.Migration):
    dependencies = []
    operations = [
        migrations.CreateModel("Thing", [("id", models.BigAutoField(primary_key=True)),
                                         ("name", models.TextField(unique=True))]),
        migrations.RunPython(first),
    ]
"""
MANAGE = """
import os, sys
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")
from django.core.management import execute_from_command_line
execute_from_command_line(sys.argv)
"""
TESTS = """
import pytest
from shop.models import Thing

@pytest.mark.django_db(databases=["default", "analytics"])
@pytest.mark.parametrize("number", range(4))
def test_it(number):
    for alias in ("default", "analytics"):
        assert [thing.name for thing in Thing.objects.using(alias)] == [alias]
        Thing.objects.using(alias).create(name="same")
"""


def test_the_recipe_works_with_two_workers(grove, require_postgres, plugged_python):
    project = grove(config=CONFIG)
    shop = {"shop/__init__.py": "", "shop/models.py": MODELS, "shop/migrations/__init__.py": ""}
    tests = {"tests/conftest.py": RECIPE, "tests/test_it.py": TESTS}
    ini = "[pytest]\nDJANGO_SETTINGS_MODULE = settings\npythonpath = .\n"
    files = {"settings.py": SETTINGS, "manage.py": MANAGE, "pytest.ini": ini, "tests/test_code.py": ""}
    project.write({**files, **shop, **tests, "shop/migrations/0001_initial.py": MIGRATION})
    environ = {"TESTGROVE": str(Path(sys.executable).with_name("testgrove")), "DATABASE_URL": "postgresql://no/where"}
    program = (plugged_python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:randomly")
    done = project.run("-n", "2", "tests", program=program, env=environ, check=False)
    assert "4 passed" in done.stdout, done.stdout + done.stderr
    project.auditor().assert_nothing(within=5.0)
