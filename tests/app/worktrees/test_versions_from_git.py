"""A version that comes from commits and tags: what the environment says it is, and what is built again for it."""

from __future__ import annotations

import json

import pytest

from grove import Grove

pytestmark = pytest.mark.slow
SUITE = "python -c 'import importlib.metadata; print(importlib.metadata.version(\"shop\"))'"
PYPROJECT = """\
[build-system]
requires = ["setuptools", "setuptools-scm"]
build-backend = "setuptools.build_meta"
[project]
name = "shop"
dynamic = ["version"]
[tool.setuptools_scm]
"""
# Its extension is compiled by a command that only says that it was called.
SETUP = """\
import os, setuptools
from setuptools.command.build_ext import build_ext
class Compile(build_ext):
    def run(self):
        open({log!r}, "a").write("compiled\\n")
        open("src/shop/_fast.py", "w").write("FAST = True\\n")
setuptools.setup(ext_modules=[setuptools.Extension("shop._fast", ["fast.c"])], cmdclass={{"build_ext": Compile}})
"""


def version_tested(project: Grove) -> str:
    project.run("test")
    (log,) = project.runs()[-1].glob("*/output.log")
    return log.read_text().strip()


def test_recycled_and_synced_environments_have_the_version_of_their_commit(grove):
    files = {"pyproject.toml": PYPROJECT, "src/shop/__init__.py": "", ".gitignore": "_fast.py\n*.egg-info\nbuild\n"}
    project: Grove = grove(files=files, config=f"[suites.unit]\ncommand = {json.dumps(SUITE)}\n")
    compiled = project.base / "compiled"
    project.write({"setup.py": SETUP.format(log=str(compiled)), "fast.c": ""}, commit="an extension")
    project.git("tag", "v1.0.0")
    assert version_tested(project) == "1.0.0"
    project.create("review", "a", "--quiet")

    project.git("commit", "--quiet", "--allow-empty", "--message", "the same files")
    project.git("tag", "v2.0.0")
    assert version_tested(project) == "2.0.0"
    before = compiled.read_text()
    done = project.run("sync", "review-a")
    assert "version" in done.stdout + done.stderr
    question = "import importlib.metadata; print(importlib.metadata.version('shop'))"
    assert project.run("exec", "review-a", "--", "python", "-c", question).stdout == "2.0.0\n"
    assert compiled.read_text() == before, "nothing is compiled for a new version"
    assert set(project.worktrees()) == {"test-unit-tree", "review-a"}

    project.write({"src/shop/__init__.py": "VALUE = 2\n"})
    assert version_tested(project) == "2.0.0", "a snapshot has its base commit's version"
    for name in ("test-unit-tree", "review-a"):
        project.run("remove", name)
    project.auditor().assert_no_leftovers()


def test_a_recycled_environment_in_which_nothing_is_compiled_follows_too(grove):
    files = {"pyproject.toml": PYPROJECT, "src/shop/__init__.py": "", ".gitignore": "*.egg-info\nbuild\n"}
    project: Grove = grove(files=files, config=f"[suites.unit]\ncommand = {json.dumps(SUITE)}\n")
    project.git("tag", "v1.0.0")
    assert version_tested(project) == "1.0.0"
    environment = (project.tree("test-unit-tree") / ".venv").stat().st_ino
    project.git("commit", "--quiet", "--allow-empty", "--message", "the same files")
    project.git("tag", "v2.0.0")
    assert version_tested(project) == "2.0.0"
    assert (project.tree("test-unit-tree") / ".venv").stat().st_ino == environment, "it was made anew"


BACKENDS = {
    "hatch-vcs": ('["hatchling", "hatch-vcs"]', "hatchling.build", '[tool.hatch.version]\nsource = "vcs"\n'),
    "pdm": ('["pdm-backend"]', "pdm.backend", '[tool.pdm.version]\nsource = "scm"\n'),
    "versioningit": ('["setuptools", "versioningit"]', "setuptools.build_meta", "[tool.versioningit]\n"),
}


@pytest.mark.parametrize("name", BACKENDS)
def test_every_backend_tells_its_version_alone(grove, name):
    requires, backend, more = BACKENDS[name]
    build = f'[build-system]\nrequires = {requires}\nbuild-backend = "{backend}"\n'
    text = f'{build}[project]\nname = "shop"\ndynamic = ["version"]\n{more}'
    files = {"pyproject.toml": text, "src/shop/__init__.py": "", ".gitignore": "*.egg-info\nbuild\n"}
    project: Grove = grove(files=files)
    project.git("tag", "v1.0.0")
    project.create("review", "a", "--quiet")
    environment = (project.tree("review-a") / ".venv").stat().st_ino
    project.git("commit", "--quiet", "--allow-empty", "--message", "the same files")
    project.git("tag", "v2.0.0")
    project.run("sync", "review-a")
    question = "import importlib.metadata; print(importlib.metadata.version('shop'))"
    assert project.run("exec", "review-a", "--", "python", "-c", question).stdout == "2.0.0\n"
    assert (project.tree("review-a") / ".venv").stat().st_ino == environment, "it was made anew"
