"""The matrix: suites × interpreters × dependency sets, each cell with the right versions."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

import needs
from grove import make_wheel, said
from testgrove.errors import PreconditionError
from testgrove.services.engines.postgres.binaries import find_postgres

CHECK = """
import os, sys
from importlib.metadata import version
import tinygrove

def test_versions():
    *_, python, deps = os.environ["WORKTREE_ID"].split("-")
    assert "py%d.%d" % sys.version_info[:2] == python
    assert version("tinygrove") == {"lowest": "1.0", "newer": "2.0"}[deps]
    assert tinygrove.__file__.startswith(os.getcwd() + "/.venv/")
"""
PROJECT = {
    "pyproject.toml": """
[project]
name = "shop"
version = "1"
requires-python = ">=3.9"
dependencies = ["tinygrove>=1"]
[dependency-groups]
test = ["pytest"]
[build-system]
requires = ["uv_build>=0.8"]
build-backend = "uv_build"
""",
    "src/shop/__init__.py": "",
    "tests/unit/test_unit.py": CHECK,
    "tests/api/test_api.py": CHECK,
}
CONFIG = """
[dependencies]
newer = { with = ["tinygrove>1"] }
broken = { with = ["tinygrove>2"] }
[suites.unit]
command = "pytest tests/unit"
[suites.api]
command = "pytest tests/api"
"""
VERSIONS = ("3.9", "3.10", "3.11", "3.12", "3.13")


@pytest.fixture
def wheels(tmp_path):
    """Where uv finds two versions of a distribution that no index has."""
    for version in ("1.0", "2.0"):
        make_wheel(tmp_path, "tinygrove", version)
    return {"UV_FIND_LINKS": str(tmp_path)}


def options(name, values):
    return [word for value in values for word in (name, value)]


@pytest.mark.slow
def test_five_interpreters_two_suites_and_two_sets_are_twenty_cells_and_one_report(grove, wheels):
    for version in VERSIONS:
        needs.interpreter(version)
    project = grove(files=PROJECT, config=CONFIG)
    words = [*options("--python", VERSIONS), *options("--deps", ["lowest", "newer", "broken"])]
    done = project.run("test", *words, check=False, env=wheels)
    report = json.loads((project.artifacts / "latest/report.json").read_text())

    assert done.returncode == 1, said(done)
    cells = {(cell["suite"], cell["python"], cell["deps"]): cell for cell in report["cells"]}
    good = {key: cell for key, cell in cells.items() if key[2] != "broken"}
    bad = [cell for key, cell in cells.items() if key[2] == "broken"]
    assert (len(good), len(bad)) == (20, 10)
    assert {key: cell["status"] for key, cell in good.items()} == dict.fromkeys(good, "passed"), said(done)
    assert all(cell["tests"]["passed"] == 1 for cell in good.values())
    assert all(cell["attempts"][-1]["python"].startswith(f"{key[1]}.") for key, cell in good.items())
    assert {cell["status"] for cell in bad} == {"error"}
    assert all("tinygrove>2" in cell["reason"] for cell in bad)
    root = ET.parse(project.artifacts / "latest/junit.xml")
    assert len({suite.get("name") for suite in root.iter("testsuite")}) == 30
    project.auditor().assert_no_leftovers()


@pytest.mark.slow
def test_sets_are_cells_of_their_own(grove, wheels):
    project = grove(files=PROJECT, config=CONFIG + '[suites.where]\ncommand = "pip freeze"\n')
    report = project.json("test", "where", "--deps", "lowest", "--deps", "newer", env=wheels)
    assert [cell["key"] for cell in report["cells"]] == ["where+lowest", "where+newer"]
    for cell, version in zip(report["cells"], ("1.0", "2.0"), strict=True):
        log = Path(report["folder"]) / cell["attempts"][0]["log"]
        assert f"tinygrove=={version}" in log.read_text()


def test_an_unknown_set_names_those_that_are_there(grove):
    project = grove(config=CONFIG)
    for words in (
        ("test", "--deps", "nope"),
        ("create", *["--purpose", "x", "--identifier", "y", "--branch", "main", "--deps", "nope"]),
    ):
        done = project.run(*words, check=False)
        assert done.returncode == 2
        assert re.search(
            "dependency set 'nope' not found.*locked, lowest, highest, newer, broken", done.stderr, re.DOTALL
        )
    project.auditor().assert_nothing()


@pytest.mark.slow
def test_a_worktree_by_hand_gets_a_set(grove, wheels):
    project = grove(files=PROJECT, config=CONFIG)
    project.create("review", "old", "--deps", "lowest", env=wheels)
    freeze = project.run("exec", "review-old", "--", "pip", "freeze").stdout
    assert "tinygrove==1.0" in freeze
    done = project.create("review", "none", "--deps", "lowest", "--no-env", check=False)
    assert (done.returncode, "--no-env" in done.stderr) == (2, True)


@pytest.mark.slow
def test_a_matrix_worktree_gets_the_python_that_its_identifier_names(grove, pythons):
    project = grove()
    _, other = pythons
    project.create("test-matrix", f"suite-py{other}", "--ports")
    project.create("test-matrix", f"told-py{other}", "--python", pythons[0])
    project.create("review", f"py{other}", "--ports")
    found = {name: entry["python"].rpartition(".")[0] for name, entry in project.worktrees().items()}
    assert found == {
        f"test-matrix-suite-py{other}": other,
        f"test-matrix-told-py{other}": pythons[0],
        f"review-py{other}": pythons[0],
    }


SERVER = """
import os, psycopg
with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
    version = connection.execute("SHOW server_version").fetchone()[0]
assert os.environ["WORKTREE_ID"].endswith("-postgres" + version.partition(".")[0]), version
"""


def there(version):
    try:
        find_postgres(version)
    except PreconditionError:
        return False
    return True


@pytest.mark.slow
@pytest.mark.postgres
def test_versions_of_an_engine_are_cells_and_one_that_is_not_here_is_an_error_of_its_own(grove):
    known = [version for version in ("18", "17", "16", "15", "14", "13") if there(version)]
    if len(known) < 2:
        needs.missing("second-postgres", f"of two PostgreSQL versions, there is {known or 'none'}")
    project = grove(
        files={"server.py": SERVER},
        config=f"""
[services.postgres]
version = ["{known[0]}", "{known[1]}", "97"]
[suites.db]
command = "{sys.executable} server.py"
services = ["postgres"]
[suites.other]
command = "true"
""",
    )
    report = json.loads(project.run("test", "--json", check=False).stdout)
    cells = {cell["key"]: cell for cell in report["cells"]}
    assert {key: cell["status"] for key, cell in cells.items()} == {
        f"db+postgres{known[0]}": "passed",
        f"db+postgres{known[1]}": "passed",
        "db+postgres97": "error",
        "other": "passed",
    }
    assert all(f"{version}." in cells["db+postgres97"]["reason"] for version in known[:2])
    assert cells[f"db+postgres{known[0]}"]["versions"] == {"postgres": known[0]}
    project.auditor().assert_no_leftovers()


@pytest.mark.postgres
def test_where_no_version_can_be_had_nothing_runs(grove):
    project = grove(
        config='[services.postgres]\nversion = ["97", "98"]\n[suites.db]\ncommand = "true"\nservices = ["postgres"]\n'
    )
    done = project.run("test", check=False)
    assert done.returncode == 3
    assert "PostgreSQL 97 not found (available:" in done.stderr
    assert project.runs() == []
