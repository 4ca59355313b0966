"""First runs without any configuration: what is installed and run, and what a failure says."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from grove import Grove, said
from testgrove.system.environment.build import find_uv
from testgrove.system.processes import process

DJANGO = {
    "README.md": "A site.\n",
    ".gitignore": "__pycache__\n",
    "manage.py": "import os, sys\nfrom django.core.management import execute_from_command_line\n"
    "os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'site_settings')\nexecute_from_command_line(sys.argv)\n",
    "site_settings.py": "SECRET_KEY = 'x'\nINSTALLED_APPS = ['posts']\nDATABASES = {}\n",
    "posts/__init__.py": "",
    "posts/tests.py": "from django.test import SimpleTestCase\n\n\nclass PostTest(SimpleTestCase):\n"
    "    def test_it(self): pass\n",
}
PACKAGE = '[project]\nname = "{0}"\nversion = "1"\nrequires-python = ">=3.9"\n{1}\n[build-system]\n'
PACKAGE += 'requires = ["uv_build>=0.8"]\nbuild-backend = "uv_build"\n'


def cell(project: Grove, *words: str, status: int = 0, python: str = "") -> dict[str, object]:
    """The only cell of a run."""
    env = {"VIRTUAL_ENV": python} if python else {}
    done = project.run("test", *words, "--json", env=env, check=False, timeout=300)
    assert done.returncode == status, said(done)
    (found,) = json.loads(done.stdout)["cells"]
    return found


@pytest.mark.slow
def test_django_runs_its_own_command_and_no_test_is_no_pass(grove, tools):
    project = grove(files=DJANGO)
    passed = cell(project, "--here", python=str(tools))
    assert (passed["command"], passed["status"]) == ("python manage.py test", "passed")
    assert passed["reason"] == "1 tests ran; not verified: not a pytest suite"
    project.write({"posts/tests.py": "# none yet\n"})
    empty = cell(project, "--here", python=str(tools), status=1)
    assert (empty["status"], empty["reason"]) == ("error", "no tests selected: no test ran")


def test_a_conftest_that_cannot_be_imported_is_the_reason(grove):
    project = grove(files={"tests/conftest.py": "import nope\n", "tests/test_a.py": "def test_it(): pass\n"})
    failed = cell(project, "--here", python=sys.prefix, status=1)
    assert failed["status"] == "error"
    assert (
        failed["reason"]
        == "pytest could not start (exit status 4): ModuleNotFoundError: No module named 'nope' (tests/conftest.py)"
    )


@pytest.mark.slow
def test_of_two_files_with_other_pins_one_is_installed_and_the_other_named(grove):
    project = grove(files={
        "requirements-test.txt": "pytest\nsix==1.16.0\n",
        "requirements-dev.txt": "pytest\nsix==1.17.0\niniconfig\ntoml\n",
        "tests/test_six.py": "import six\n\n\ndef test_it():\n    assert six.__version__ == '1.16.0'\n",
    })  # fmt: skip
    passed = cell(project)
    assert passed["status"] == "passed"
    (told,) = {phase["reason"] for phase in passed["phases"] if phase["phase"] == "environment"} - {""}
    assert told == "requirements-test.txt · passed over: requirements-dev.txt (requirements-test.txt comes first)"
    project.write({"tests/test_six.py": "import toml\n\n\ndef test_it(): pass\n"})
    reason = str(cell(project, status=1)["reason"])
    assert "requirements-dev.txt declares it and was passed over (requirements-test.txt comes first)" in reason


@pytest.mark.slow
def test_a_workspace_with_a_project_at_its_root_brings_its_members(grove):
    root = PACKAGE.format(
        "shop", '[dependency-groups]\ndev = ["pytest"]\n[tool.uv.workspace]\nmembers = ["packages/*"]'
    )
    project = grove(files={
        "pyproject.toml": root,
        "src/shop/__init__.py": "",
        "packages/cart/pyproject.toml": PACKAGE.format("cart", 'dependencies = ["six"]'),
        "packages/cart/src/cart/__init__.py": "import six\n",
        "tests/test_cart.py": "import cart, shop\n\n\ndef test_it(): pass\n",
    })  # fmt: skip
    lock(project.repo)
    project.git("add", "-A")
    project.git("commit", "-qm", "lock")
    passed = cell(project)
    assert passed["status"] == "passed"
    told = [phase["reason"] for phase in passed["phases"] if phase["phase"] == "environment"]
    assert told[-1] == "uv.lock, all packages of the workspace, groups dev"


def lock(tree: Path) -> None:
    process.run([str(find_uv()), "lock", "-q"], cwd=tree)
