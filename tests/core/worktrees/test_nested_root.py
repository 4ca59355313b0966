"""What is known to break where the worktrees lie inside the repository, from the project's files alone."""

from __future__ import annotations

import pytest

from testgrove.core.worktrees.nested_root import find_problems
from testgrove.core.worktrees.root_guard import configures_pytest

SETUPTOOLS = '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
HATCHLING = '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'
FIND = SETUPTOOLS + "[tool.setuptools.packages.find]\n"


def tools(texts, *, root="worktrees", names=("shop", "tests"), tracked=False):
    """The tools that have a problem, by the first word of its message."""
    texts = {"pyproject.toml": texts} if isinstance(texts, str) else texts
    found = find_problems(root, texts, set(names), tracked=tracked)
    assert all(problem.fix for problem in found)
    return [problem.message.split()[0].strip("`") for problem in found]


@pytest.mark.parametrize(
    "texts",
    [
        SETUPTOOLS,
        FIND,
        FIND + 'include = ["*"]\n',
        {"setup.py": "from setuptools import setup\nsetup(name='shop')\n"},
        {"setup.cfg": "[metadata]\nname = shop\n"},
        {"pyproject.toml": '[build-system]\nrequires = ["setuptools"]\n'},
    ],
)
def test_setuptools_that_looks_for_packages_at_the_top(texts):
    assert tools(texts) == ["setuptools"]


@pytest.mark.parametrize(
    "texts",
    [
        "",
        "not = [toml",
        '[project]\nname = "shop"\n',
        SETUPTOOLS + '[tool.setuptools]\npackages = ["shop"]\n',
        SETUPTOOLS + '[tool.setuptools]\npy-modules = ["shop"]\n',
        FIND + 'where = ["lib"]\n',
        FIND + 'include = ["shop*"]\n',
        FIND + 'exclude = ["worktrees*"]\n',
        FIND + "namespaces = false\n",
        {"setup.py": "from setuptools import setup, find_packages\nsetup(name='shop', packages=find_packages())\n"},
        {"setup.cfg": "[metadata]\nname = shop\n[options]\npackages = find:\n"},
    ],
)
def test_setuptools_that_does_not(texts):
    assert tools(texts) == []


def test_setuptools_passes_by_a_src_layout_and_folders_that_can_be_no_package():
    assert tools(SETUPTOOLS, names=("src", "tests")) == []
    assert tools(SETUPTOOLS, root=".worktrees") == []
    assert tools(SETUPTOOLS, root="work-trees") == []
    assert tools(SETUPTOOLS, root="build/worktrees") == []


@pytest.mark.parametrize(
    "more", ["", '[tool.hatch.build]\nexclude = ["docs"]\n', '[tool.hatch.build]\ninclude = ["*"]\n']
)
def test_hatchling_packs_what_the_top_does_not_ignore(more):
    assert tools(HATCHLING + more) == ["hatchling"]
    assert tools({"pyproject.toml": HATCHLING + more, ".gitignore": "*.pyc\n/worktrees/\n"}) == []


@pytest.mark.parametrize(
    "more",
    [
        '[tool.hatch.build]\nexclude = ["/worktrees"]\n',
        '[tool.hatch.build.targets.sdist]\nonly-include = ["src"]\n',
        '[tool.hatch.build.targets.sdist]\ninclude = ["/src", "README.md"]\n',
    ],
)
def test_hatchling_that_is_told_what_to_pack(more):
    assert tools(HATCHLING + more) == []


def test_mypy_that_does_not_exclude_the_worktrees():
    assert tools("[tool.mypy]\nstrict = true\n") == ["mypy"]
    assert tools({"mypy.ini": "[mypy]\nstrict = True\n"}) == ["mypy"]
    assert tools({"requirements-dev.txt": "mypy==1.11\n"}) == ["mypy"]
    assert tools('[tool.mypy]\nexclude = ["^worktrees/", "build"]\n') == []
    assert tools({"setup.cfg": "[mypy]\nexclude = (^build/|^worktrees/)\n"}) == []


def test_mypy_that_excludes_what_git_ignores_sees_nothing_in_a_worktree():
    found = find_problems("worktrees", {"pyproject.toml": "[tool.mypy]\nexclude_gitignore = true\n"}, (), tracked=False)
    assert "checks nothing inside a worktree" in found[0].message


def test_a_root_that_the_project_tracks_files_in():
    assert tools("", tracked=True) == ["the"]


@pytest.mark.parametrize(
    ("texts", "answer"),
    [
        ({}, False),
        ({"pyproject.toml": "[project]\n", "tox.ini": "[tox]\n", "setup.cfg": "[metadata]\n"}, False),
        ({"pytest.ini": ""}, True),
        ({".pytest.ini": ""}, True),
        ({"pyproject.toml": "[project]\n[tool.pytest.ini_options]\n"}, True),
        ({"tox.ini": "[tox]\n[pytest]\n"}, True),
        ({"setup.cfg": "[tool:pytest]\n"}, True),
    ],
)
def test_what_makes_a_folder_pytests_root(texts, answer):
    assert configures_pytest(texts) is answer
