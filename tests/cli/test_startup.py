"""Commands that only look must be fast: what they load is held down here, what it costs is measured by benchmarks."""

from __future__ import annotations

import sys

import pytest

from grove import Grove

# Slow to import, or of no use to a command that only looks.
HEAVY = ("msgspec", "psycopg", "redis", "rich", "jinja2", "uv", "asyncio", "packaging", "concurrent.futures", "ctypes")
IMPORTS = (sys.executable, "-X", "importtime", "-m", "testgrove")


def imported(project: Grove, *words: str) -> set[str]:
    """The modules that a command imports, by the interpreter's own account."""
    error = project.run(*words, program=IMPORTS).stderr
    lines = (line.split("|") for line in error.splitlines() if line.startswith("import time:"))
    return {name.strip() for *_, name in lines}


def found(modules: set[str], *names: str) -> set[str]:
    """Those of the modules that have one of these names, or lie below one."""
    return {module for module in modules for name in names if module == name or module.startswith(f"{name}.")}


@pytest.fixture
def project(grove) -> Grove:
    project = grove()
    project.create("test-unit", "a")
    return project


@pytest.mark.parametrize(
    "words",
    [["list"], ["list", "--json"], ["show", "a"], ["path", "a"], ["env", "a", "--format=shell"]],
    ids=" ".join,
)
def test_commands_that_look_load_nothing_heavy(project, words):
    modules = imported(project, *words)
    assert "testgrove.app.project" in modules, "nothing was seen at all"
    assert found(modules, *HEAVY) == set()
    assert found(modules, "testgrove.services", "testgrove.reports", "testgrove.app.runs.run") == set()
    if words[0] == "list":
        assert found(modules, "hashlib", "testgrove.core.engines", "testgrove.app.rediscovery") == set()


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["lst"]], ids=" ".join)
def test_help_loads_nothing_of_the_application(project, words):
    error = project.run(*words, program=IMPORTS, check=False).stderr
    modules = {line.split("|")[2].strip() for line in error.splitlines() if line.startswith("import time:")}
    assert "testgrove.cli.main" in modules, "nothing was seen at all"
    assert found(modules, *HEAVY) == set()
    layers = ("app", "system", "services", "core", "reports")
    assert found(modules, *(f"testgrove.{layer}" for layer in layers), "sqlite3", "subprocess", "socket") == set()


def test_the_help_of_a_command_loads_no_store(project):
    assert found(imported(project, "test", "--help"), *HEAVY, "testgrove.services") == set()


def test_a_run_without_services_loads_nothing_of_theirs(project):
    project.write({"testgrove.toml": '[suites.unit]\ncommand = "true"\n'})
    modules = imported(project, "test")
    assert "testgrove.app.runs.run" in modules, "nothing was seen at all"
    names = ("services.provisioning", "services.migrations", "services.broker", "app.providers", "app.failures")
    assert found(modules, *(f"testgrove.{name}" for name in names)) == set()
