"""The documents' sequences without `export $(cat .env.test | xargs)`: after `source .venv/bin/activate` alone."""

from __future__ import annotations

import json
import shutil

import pytest

import needs

pytestmark = [pytest.mark.slow, pytest.mark.postgres]

MANAGE = """
import os, sys

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")
from django.core.management import execute_from_command_line

execute_from_command_line(sys.argv)
"""
SETTINGS = """
import os
from urllib.parse import urlsplit

url = urlsplit(os.environ["DATABASE_URL"])
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql", "NAME": url.path[1:], "HOST": url.hostname, "PORT": url.port or "",
        "USER": url.username or "", "PASSWORD": url.password or "",
    }
}
INSTALLED_APPS = ["users"]
SECRET_KEY = "x"
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
"""
FIRST = """
from django.db import migrations, models


class Migration(migrations.Migration):
    operations = [
        migrations.CreateModel("User", [("id", models.AutoField(primary_key=True))], options={"db_table": "users"})
    ]
"""
FURTHER = """
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("users", "{before}")]
    operations = [migrations.AddField("user", "{field}", models.TextField(default=""))]
"""
HAS_ROLE = """
import os, subprocess

def test_it():
    asked = ["psql", "-At", "testdb_migration_user_roles", "-c",
             "SELECT count(*) FROM information_schema.columns WHERE table_name = 'users' AND column_name = 'role'"]
    assert subprocess.run(asked, check=True, capture_output=True, text=True).stdout == "{number}\\n"
    assert os.environ["TEST_MODE"] == "true"
"""
# From 002, "Migration Testing", then from 000 and 001, "Migration State Mismatches" and "Database Connection". Not to
# the letter is what nothing could run: a migration without its application, and `xargs -I`, which keeps the blanks
# after a name.
MIGRATION = r"""
python scripts/worktree_create.py \
    --purpose test-migration \
    --identifier add-user-roles \
    --branch feature/user-roles
cd worktrees/test-migration-add-user-roles
source .venv/bin/activate
createdb testdb_migration_user_roles
export DATABASE_URL=postgresql://localhost/testdb_migration_user_roles
python manage.py migrate users 0042_previous_migration
python manage.py migrate users 0043_add_user_roles
psql testdb_migration_user_roles -c "\d users"
pytest tests/migrations/test_0043_add_user_roles.py
python manage.py migrate users 0042_previous_migration
pytest tests/migrations/test_0043_rollback.py
unset DATABASE_URL
python manage.py showmigrations
psql -l | grep testdb_migration_user_roles
psql testdb_migration_user_roles -c "SELECT current_user;"
dropdb testdb_migration_user_roles
createdb testdb_migration_user_roles
python manage.py migrate
ls -la users/migrations/
git status users/migrations/
dropdb testdb_migration_user_roles
psql -l | grep testdb_ | cut -d'|' -f1 | xargs dropdb
"""
# 000 and 001, "Virtual Environment Issues", and the workflows: an environment made again by hand.
AGAIN = """
cd worktrees/test-migration-add-user-roles
python -m venv .venv
source .venv/bin/activate
which python
pip install --quiet --no-index --find-links /nowhere pip
createdb testdb_migration_user_roles
echo "DATABASE_URL=postgresql://localhost/testdb_migration_user_roles" > .env.test
python manage.py migrate
psql testdb_migration_user_roles -c "\\d users"
dropdb testdb_migration_user_roles
"""


def django_project() -> dict[str, str]:
    names = [f"{number:04}_more" for number in range(2, 42)]
    names = ["0001_initial", *names, "0042_previous_migration", "0043_add_user_roles"]
    fields = {"0043_add_user_roles": "role"}
    files = {
        ".gitignore": "__pycache__/\n",
        "manage.py": MANAGE,
        "settings.py": SETTINGS,
        "users/__init__.py": "",
        "users/migrations/__init__.py": "",
        "requirements.txt": "django~=4.2\npsycopg[binary]\n",
        "requirements-test.txt": "pytest\n",
        "tests/migrations/test_0043_add_user_roles.py": HAS_ROLE.format(number=1),
        "tests/migrations/test_0043_rollback.py": HAS_ROLE.format(number=0),
    }
    for before, name in zip(["", *names], names, strict=False):
        text = FURTHER.format(before=before, field=fields.get(name, f"field_{name}")) if before else FIRST
        files[f"users/migrations/{name}.py"] = text
    return files


@pytest.fixture(params=["3.9", "3.11", "3.13"])
def python_on_path(request, tmp_path):
    """A folder with the `python` of a version, as pyenv or setup-python put it on PATH."""
    folder = tmp_path / "python/bin"
    folder.mkdir(parents=True)
    for name in ("python", "python3"):
        (folder / name).symlink_to(needs.interpreter(request.param))
    return request.param, folder


@pytest.fixture(autouse=True)
def clients(require_postgres):
    if shutil.which("psql", path="/usr/local/bin:/usr/bin:/bin") is None:
        needs.missing("psql", "there is no psql on PATH")


def test_migrations_of_a_django_project(grove, with_scripts, python_on_path):
    """The example of Python 3.11 as an ordinary user, the others as who runs the tests."""
    version, folder = python_on_path
    shell = with_scripts(
        grove(files=django_project(), config="[services.postgres]\nmigrate = 'python manage.py migrate'\n")
    )
    shell.project.git("branch", "feature/user-roles")
    shell.env["PATH"] = f"{folder}:{shell.env['PATH']}"
    del shell.env["VIRTUAL_ENV"]
    shell.user = needs.ordinary_user() if version == "3.11" else ()
    assert " role " in shell.type(MIGRATION).stdout
    tree = shell.project.repo / "worktrees/test-migration-add-user-roles"
    made = shell.type(f"{tree}/.venv/bin/python --version").stdout
    assert made.startswith(f"Python {version}."), "the interpreter of the script is the default"
    again = shell.type(AGAIN)
    assert f"{tree}/.venv/bin/python\n" in again.stdout
    shell.type("python scripts/worktree_remove.py --identifier add-user-roles --force")
    shell.project.auditor().assert_nothing(within=15)


def test_an_environment_that_was_made_again_gets_them_back(grove, with_scripts):
    """000 and 001, "Virtual Environment Issues": doctor says that something is missing, sync adds it, and only that."""
    shell = with_scripts(grove(config="[services.postgres]\n[suites.unit]\ncommand = 'pytest'\n"))
    project = shell.project
    shell.type("python scripts/worktree_create.py --purpose test-unit --identifier a --branch main")
    tree = project.repo / "worktrees/test-unit-a"
    metadata = json.loads((tree / ".worktree-metadata.json").read_text())
    assert metadata["database"] == "testdb_unit_a", "although the suites of this purpose ask for none"
    asked = ".venv/bin/psql -At testdb_unit_a -c 'SELECT current_user'"
    assert shell.type(asked, cwd=tree).stdout == "testdb_unit_a\n"
    assert project.run("doctor", check=False).stdout.count("made again by hand") == 0

    shell.type("rm -rf .venv", cwd=tree)
    assert f"{tree}/.venv is missing" in project.run("doctor", check=False).stdout
    shell.type("python -m venv --without-pip .venv; touch .venv/mine", cwd=tree)
    told = project.run("doctor", check=False).stdout
    assert "its .venv was made again by hand: programs in it do not get the variables of the env file" in told
    assert "hint: testgrove sync test-unit-a" in told
    assert "environment: added" in project.run("sync", "a").stdout
    assert shell.type(asked, cwd=tree).stdout == "testdb_unit_a\n"
    assert (tree / ".venv/mine").exists()

    shell.type("rm -rf .venv; python -m venv --without-pip .venv", cwd=tree)
    project.run("doctor", "--fix", check=False)
    assert shell.type(asked, cwd=tree).stdout == "testdb_unit_a\n"
    project.create("review", "plain")
    assert not (project.tree("review-plain") / ".venv/bin/testgrove_worktree.pth").exists()
    assert not [*(project.tree("review-plain") / ".venv").glob("lib/*/site-packages/testgrove_worktree*")]
    for name in ("a", "plain"):
        project.run("remove", name)
    project.auditor().assert_nothing(within=15)
