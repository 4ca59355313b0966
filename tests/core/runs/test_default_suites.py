"""Without configured suites: what is run, from a project's files."""

from __future__ import annotations

import pytest

from testgrove.core.runs.default_suites import find_suites
from testgrove.core.settings.types import Settings

MANAGE = {"manage.py": "os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'shop.settings')"}
NO_MATCH = "[pytest]\nDJANGO_SETTINGS_MODULE = shop.settings\n"


@pytest.mark.parametrize(
    ("files", "texts", "wanted"),
    [
        (["tests/test_a.py"], {}, {"tests": "pytest"}),
        (["shop/tests/test_a.py", "shop/cart_test.py"], {}, {"tests": "pytest"}),
        (["tests/unit/test_a.py", "tests/e2e/test_b.py"], {}, {"unit": "pytest tests/unit", "e2e": "pytest tests/e2e"}),
        (["tests/unit/test_a.py", "tests/test_b.py"], {}, {"tests": "pytest"}),
        (["shop/cart.py"], {}, {}),
        # pytest's settings
        (["checks/check_a.py"], {"pytest.ini": "[pytest]\npython_files = check_*.py"}, {"tests": "pytest"}),
        (["checks/check_a.py"], {"pyproject.toml": "[tool.pytest.ini_options]\npython_files = ['check_*.py']"},
         {"tests": "pytest"}),
        (["tests/unit/test_a.py"], {"setup.cfg": "[tool:pytest]\npython_files = check_*.py"}, {}),
        (["src/shop.py"], {"tox.ini": "[pytest]\ntestpaths = src\naddopts = --doctest-modules"}, {"tests": "pytest"}),
        # Django
        (["manage.py", "posts/tests.py"], MANAGE, {"tests": "python manage.py test"}),
        (["manage.py", "posts/tests/test_models.py"], MANAGE, {"tests": "python manage.py test"}),
        (["manage.py", "posts/tests/test_models.py", "conftest.py"], MANAGE, {"tests": "pytest"}),
        (["manage.py", "posts/tests.py"], {**MANAGE, "pytest.ini": NO_MATCH},
         {"tests": "pytest -o 'python_files=test*.py'"}),
        (["manage.py", "posts/tests.py"], {**MANAGE, "pytest.ini": NO_MATCH + "python_files = tests.py\n"},
         {"tests": "pytest"}),
        (["manage.py", "tests/test_a.py"], {"manage.py": "from flask_script import Manager"}, {"tests": "pytest"}),
        (["manage.py", "posts/models.py"], MANAGE, {}),
        # unittest
        (["tests/testcart.py"], {}, {"tests": "pytest -o 'python_files=test*.py'"}),
        (["shop/cart_tests.py", "test/testcart.py"], {}, {"tests": "pytest -o 'python_files=*_tests.py test*.py'"}),
        (["shop/testing.py"], {}, {}),
        # tox and nox
        (["tests/test_a.py", "shop/a.py"], {"tox.ini": "[testenv]\ncommands = pytest --cov shop -n 2 tests {posargs}"},
         {"tests": "pytest tests"}),
        (["tests/test_a.py", "other/test_b.py"], {"tox.ini": "[testenv]\ncommands = pytest -v --cov=a {posargs:tests}"},
         {"tests": "pytest tests"}),
        (["tests/test_a.py"],
         {"tox.ini": "[testenv]\ncommands = coverage run -m pytest --ignore=tests/slow -m 'not x'"},
         {"tests": "pytest --ignore=tests/slow -m 'not x'"}),
        (["tests/test_a.py"], {"tox.ini": "[testenv]\ncommands =\n  pytest tests\n  pytest docs"}, {"tests": "pytest"}),
        (["tests/test_a.py"], {"tox.ini": "[pytest]\ntestpaths = tests\n[testenv]\ncommands = pytest tests/test_a.py"},
         {"tests": "pytest"}),
        (["t/spec.py"], {"noxfile.py": "import nox\n@nox.session\ndef tests(session):\n  session.run('pytest', 't')\n"},
         {"tests": "pytest t"}),
    ],
)  # fmt: skip
def test_what_is_run(files, texts, wanted):
    suites = find_suites(Settings(), files, texts)
    assert {name: suite.command for name, suite in suites.items()} == wanted
