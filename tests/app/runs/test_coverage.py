"""--cov: all cells, xdist's workers and subprocesses in one report, with nothing installed where the tests run."""

from __future__ import annotations

import json
import sqlite3
import time
from xml.etree import ElementTree as ET

import pytest

import needs
from grove import said

SHOP = """
import sys
if sys.version_info < (3, 12):
    VALUE = "older"
else:
    VALUE = "newer"

def first():
    return 1

def second():
    return 2

def in_a_subprocess():
    return 3

def never():
    return 4
"""
TESTS = """
import subprocess, sys
from pathlib import Path
import pytest
import shop

@pytest.mark.parametrize("n", [1, 2])
def test_functions(n):
    assert shop.first() == 1 if n == 1 else shop.second() == 2

def test_subprocess(tmp_path):
    subprocess.run([sys.executable, "-c", "import shop; shop.in_a_subprocess()"], check=True, cwd=tmp_path)

def test_nothing_is_installed():
    assert not list(Path(sys.prefix).glob("lib/*/site-packages/coverage*"))
"""
PYPROJECT = """
[project]
name = "shop"
version = "1"
requires-python = ">=3.9"
[dependency-groups]
test = [{}]
[build-system]
requires = ["uv_build>=0.8"]
build-backend = "uv_build"
"""


def project_files(*packages, tests=TESTS, **more):
    pyproject = PYPROJECT.format(", ".join(f'"{name}"' for name in packages))
    return {"pyproject.toml": pyproject, "src/shop/__init__.py": SHOP, "tests/test_shop.py": tests, **more}


def lines(project):
    """The lines of shop that ran, by their text."""
    root = ET.parse(project.artifacts / "latest/coverage/coverage.xml").getroot()
    (found,) = [each for each in root.iter("class") if each.get("filename") == "src/shop/__init__.py"]
    assert [source.text for source in root.iter("source")] == [str(project.repo)]
    text = SHOP.splitlines()
    hits = {text[int(line.get("number")) - 1].strip(): line.get("hits") != "0" for line in found.iter("line")}
    return {line for line, hit in hits.items() if hit}


def files(project):
    with sqlite3.connect(project.artifacts / "latest/coverage/.coverage") as data:
        return {row[0] for row in data.execute("SELECT path FROM file")}


@pytest.mark.slow
def test_cells_xdist_and_subprocesses_are_merged_by_an_overlay(grove):
    versions = ("3.9", "3.12")
    for version in versions:
        needs.interpreter(version)
    project = grove(files=project_files("pytest", "pytest-xdist"))
    words = [word for version in versions for word in ("--python", version)]
    done = project.run("test", "--cov", *words, "--", "-n", "2")
    ran = lines(project)
    assert {'VALUE = "older"', 'VALUE = "newer"'} <= ran
    assert {"return 1", "return 2", "return 3"} <= ran
    assert "return 4" not in ran
    assert files(project) == {str(project.repo / "src/shop/__init__.py"), str(project.repo / "tests/test_shop.py")}
    report = json.loads((project.artifacts / "latest/report.json").read_text())
    assert 0 < report["coverage"] < 100
    assert f"coverage: {report['coverage']:.1f} %" in done.stdout, said(done)
    assert (project.artifacts / "latest/coverage/html/index.html").exists()
    assert "./coverage/html/index.html" in (project.artifacts / "latest/report.html").read_text()
    assert sorted(path.name for path in (project.artifacts / "latest/coverage").iterdir()) == [
        ".coverage", "coverage.xml", "html",
    ]  # fmt: skip
    project.auditor().assert_no_leftovers()


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [(), ("--", "-n", "2")], ids=["alone", "xdist"])
def test_a_projects_own_coverage_is_part_of_it(grove, arguments):
    settings = "[pytest]\naddopts = --cov=shop --cov-branch\n"
    tests = TESTS[: TESTS.index("def test_nothing")]
    plain = '[suites.tests]\ncommand = "pytest"\n[suites.script]\ncommand = "python -c \'import shop; shop.never()\'"\n'
    packages = ("pytest-cov", "pytest-xdist")
    project = grove(files=project_files(*packages, tests=tests, **{"pytest.ini": settings}), config=plain)
    project.run("test", "--cov", *(["tests", *arguments] if arguments else []))
    report = json.loads((project.artifacts / "latest/report.json").read_text())
    assert report["coverage"] is not None, report["coverage_note"]
    assert {"return 1", "return 2"} <= lines(project)
    assert ("return 4" in lines(project)) is not bool(arguments)  # the script's, without branches


def test_what_a_user_writes_meanwhile_does_not_move_the_lines(grove):
    """The sources of the report are those that were tested."""
    slow = """
import os, shop, time
def test_it():
    open(os.environ["READY"], "w").close()
    while not os.path.exists(os.environ["GO"]): time.sleep(0.05)
    assert shop.second() == 2
"""
    project = grove(files=project_files("pytest", tests=slow))
    ready, go = project.base / "ready", project.base / "go"
    with project.start("test", "--cov", env={"READY": str(ready), "GO": str(go)}) as process:
        deadline = time.monotonic() + 60
        while not ready.exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        project.write({"src/shop/__init__.py": "\n" * 40 + SHOP})
        go.touch()
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 0, out
    assert "return 2" in lines(project)


def test_a_run_that_measures_nothing_says_so(grove):
    project = grove(config='[suites.script]\ncommand = "true"\n')
    done = project.run("test", "--cov")
    assert "no coverage: no Python process" in done.stdout


def test_two_refs_are_two_trees(grove):
    done = grove().run("test", "--cov", "--ref", "main", "--ref", "HEAD", check=False)
    assert (done.returncode, "--cov" in done.stderr) == (2, True)


@pytest.mark.slow
def test_the_environments_own_sitecustomize_is_still_imported(grove):
    own = "import sys\ndef test_it():\n    assert getattr(sys, 'of_the_environment', False)\n"
    project = grove(
        files=project_files("pytest", tests=own),
        config='[suites.tests]\ncommand = "pytest"\nenv = { PYTHONPATH = "site" }\n',
    )
    project.write({"site/sitecustomize.py": "import sys\nsys.of_the_environment = True\n"}, commit="Its own")
    assert project.json("test", "--cov")["status"] == "passed"
    assert not list(project.scratch.iterdir())
