"""Sub-projects, from a checkout's files alone."""

from __future__ import annotations

import pytest

from testgrove.core.runs.default_suites import find_suites
from testgrove.core.runs.subprojects import find_subprojects, is_project, without_subprojects
from testgrove.core.settings.types import Settings

PROJECT = '[project]\nname = "x"\n'
WORKSPACE = PROJECT + '[tool.uv.workspace]\nmembers = ["packages/*"]\nexclude = ["packages/old"]\n'


def found(files: dict[str, str]) -> list[str]:
    return list(find_subprojects(files, lambda name: files.get(name, "")))


@pytest.mark.parametrize(
    ("files", "wanted"),
    [
        # the top declares nothing: each folder that declares a project and has tests
        ({"backend/pyproject.toml": PROJECT, "backend/tests/test_a.py": ""}, ["backend"]),
        ({"pyproject.toml": "[tool.ruff]\n", "api/setup.py": "", "api/test_a.py": ""}, ["api"]),
        ({"api/requirements.txt": "", "api/shop/tests.py": "", "web/package.json": ""}, ["api"]),
        ({"testgrove.toml": "", "libs/a/setup.cfg": "[metadata]\nname = a\n", "libs/a/test_a.py": ""}, ["libs/a"]),
        ({"a/pyproject.toml": PROJECT, "a/test_a.py": "", "a/sub/setup.py": "", "a/sub/test_b.py": ""}, ["a"]),
        # not: without tests, only tools' tables, examples and data, templates, what is hidden
        ({"backend/pyproject.toml": PROJECT, "backend/app.py": ""}, []),
        ({"web/pyproject.toml": "[tool.ruff]\n", "web/test_a.py": ""}, []),
        ({"docs/requirements.txt": "", "docs/conf.py": ""}, []),
        ({"tests/data/x/setup.py": "", "tests/data/x/test_a.py": ""}, []),
        ({"examples/a/setup.py": "", "examples/a/test_a.py": ""}, []),
        ({"{{name}}/setup.py": "", "{{name}}/test_a.py": "", ".x/setup.py": "", ".x/test_a.py": ""}, []),
        # the top is a project: it runs as before, but for what has settings of its own
        ({"setup.py": "", "backend/pyproject.toml": PROJECT, "backend/test_a.py": ""}, []),
        ({"setup.py": "", "examples/shop/pyproject.toml": "[tool.testgrove]\n"}, ["examples/shop"]),
        ({"setup.py": "", "tools/testgrove.toml": ""}, ["tools"]),
        # a uv workspace: its members with tests, unless the top's pytest names them
        ({"pyproject.toml": WORKSPACE, "packages/a/pyproject.toml": PROJECT, "packages/a/tests/test_a.py": "",
          "packages/b/pyproject.toml": PROJECT, "packages/old/pyproject.toml": PROJECT, "packages/old/test_o.py": ""},
         ["packages/a"]),
        ({"pyproject.toml": WORKSPACE + '[tool.pytest.ini_options]\ntestpaths = ["tests", "packages/*/tests"]\n',
          "packages/a/pyproject.toml": PROJECT, "packages/a/tests/test_a.py": ""}, []),
        ({"pyproject.toml": WORKSPACE + '[tool.pytest.ini_options]\ntestpaths = ["tests"]\n',
          "packages/a/pyproject.toml": PROJECT, "packages/a/tests/test_a.py": ""}, ["packages/a"]),
    ],
)  # fmt: skip
def test_which_folders_run_from_the_top(files, wanted):
    assert found(files) == wanted


@pytest.mark.parametrize(
    ("files", "is_one"),
    [
        ({"pyproject.toml": PROJECT}, True),
        ({"pyproject.toml": "[tool.poetry]\nname = 'x'\n"}, True),
        ({"pyproject.toml": "[tool.testgrove]\n"}, True),
        ({"pyproject.toml": "[tool.ruff]\n"}, False),
        ({"pyproject.toml": "not TOML"}, False),
        ({"requirements.txt": "pytest", "tests/test_a.py": ""}, True),
        ({"requirements.txt": "sphinx", "conf.py": ""}, False),
        ({"setup.cfg": "[flake8]\n"}, False),
    ],
)
def test_what_makes_a_folder_a_project(files, is_one):
    assert is_project(files, lambda name: files.get(name, "")) is is_one


def test_the_suite_of_the_top_leaves_sub_projects_out():
    def command(texts: dict[str, str]) -> str:
        suites = find_suites(Settings(), ["tests/test_a.py"], texts)
        return without_subprojects(suites, ["packages/b", "packages/a"], texts)["tests"].command

    assert command({}) == "pytest --ignore=packages/a --ignore=packages/b"
    assert command({"pytest.ini": "[pytest]\ntestpaths = tests\n"}) == "pytest"
