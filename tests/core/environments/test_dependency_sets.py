"""Dependency sets: which there are, what they make of a project's files, and what uv is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from testgrove.core.environments.decide import decide
from testgrove.core.environments.dependency_sets import DependencySet, find_set, lowest
from testgrove.core.environments.fingerprint import fingerprint
from testgrove.core.environments.install_commands import (
    bounded_requirements,
    direct_requirements,
    exact_versions,
    highest_arguments,
    install_arguments,
    lower_bounds,
    lowest_arguments,
)
from testgrove.core.environments.plan import Contents, EnvironmentRequest
from testgrove.core.settings.types import Dependencies, Settings
from testgrove.errors import PreconditionError, UsageError

PYPROJECT = b"""
[project]
name = "shop"
dependencies = ["web>=2", "plain"]
[project.optional-dependencies]
fast = ["quick>=1"]
other = ["slow"]
[dependency-groups]
dev = ["pytest", {include-group = "lint"}]
lint = ["linter>=3"]
[tool.uv]
conflicts = [[{ extra = "fast" }, { extra = "other" }]]
[build-system]
requires = ["hatchling"]
"""
LOCK = b'version = 1\n\n[[package]]\nname = "shop"\nsource = { editable = "." }\n'
FREE = {"pyproject.toml": PYPROJECT}
LOCKED = {**FREE, "uv.lock": LOCK}
LOWEST = DependencySet("lowest", "lowest-direct")
HIGHEST = DependencySet("highest", "highest")
OLD_WEB = DependencySet("oldweb", requirements=("web~=2.1",))


def contents(files: dict[str, bytes], deps: DependencySet) -> Contents:
    return decide(files, EnvironmentRequest(deps=deps))


def command(files: dict[str, bytes], deps: DependencySet) -> str:
    return " ".join(install_arguments(contents(files, deps)))


def test_the_settings_own_sets_come_before_those_that_are_built_in():
    settings = Settings(dependencies={"lowest": Dependencies(resolution="lowest"), "x": Dependencies(file="x.txt")})
    assert find_set(settings, "lowest") == DependencySet("lowest", "lowest")
    assert find_set(settings, "x").file == "x.txt"
    assert find_set(settings, "highest") == HIGHEST
    assert find_set(settings, None).is_own


def test_the_settings_can_make_a_set_the_default():
    settings = Settings(dependencies={"tests": Dependencies(file="x.txt")}, dependencies_default="tests")
    assert find_set(settings, None) == find_set(settings, "tests") == DependencySet("tests", file="x.txt")
    assert find_set(settings, "highest") == HIGHEST


def test_an_unknown_set_is_an_error_that_names_those_that_are_there():
    with pytest.raises(UsageError, match="'nope'") as caught:
        find_set(Settings(dependencies={"mine": Dependencies(file="x.txt")}), "nope")
    assert all(name in caught.value.hint for name in ("locked", "lowest", "highest", "mine"))


def test_without_a_lock_uv_resolves_the_project_the_set_and_pytest_as_one():
    assert command(FREE, OLD_WEB) == ("pip install -e . web~=2.1 pytest --group dev --reinstall-package shop")
    assert command(FREE, HIGHEST) == (
        "pip install -e . pytest --group dev --resolution highest --reinstall-package shop"
    )


def test_a_sets_requirements_go_over_the_lock_and_a_resolution_leaves_it():
    over = contents(LOCKED, OLD_WEB)
    assert over.kind == "uv-lock"
    assert over.then is not None
    assert " ".join(install_arguments(over.then)) == (
        "pip install -e .[fast] web~=2.1 pytest --group dev --reinstall-package shop"
    )
    assert command(LOCKED, HIGHEST).startswith("pip install -e .[fast] pytest --group dev --resolution highest")
    assert contents(LOCKED, DependencySet("locked", locked=True)) == decide(LOCKED, EnvironmentRequest())


def test_a_file_takes_the_place_of_the_lock_and_of_requirement_files():
    files = {"requirements.txt": b"a\n", "old/pins.txt": b"web==2.0\n"}
    pins = DependencySet("pins", file="old/pins.txt")
    assert command(files, pins) == "pip install -r old/pins.txt pytest"
    assert "requirements.txt" not in command({**LOCKED, **files}, pins)
    with pytest.raises(PreconditionError, match=r"old/pins\.txt"):
        decide(FREE, EnvironmentRequest(deps=pins))


def test_the_locked_set_needs_a_lock():
    with pytest.raises(PreconditionError, match=r"uv\.lock") as caught:
        decide(FREE, EnvironmentRequest(deps=DependencySet("locked", locked=True)))
    assert "uv lock" in caught.value.hint


def test_another_set_is_another_environment():
    marks = {fingerprint(FREE, {"request": repr(EnvironmentRequest(deps=deps))}) for deps in (LOWEST, HIGHEST, OLD_WEB)}
    assert len(marks) == 3


def test_what_has_no_lower_bound_has_no_lowest_version():
    found = lowest(["web>=2", "plain", "git @ https://x/y.git", "capped<3", "both"], ["pytest", "tool~=1.0", "both>1"])
    assert found.unbounded == ("plain", "capped", "pytest")
    assert found.bounded == ("web", "git", "both", "tool")
    assert found.tests == ("tool~=1.0", "both>1")


def test_the_steps_to_the_lowest_versions():
    chosen = contents(FREE, LOWEST)
    assert chosen.lowest is not None
    assert set(chosen.lowest.unbounded) == {"plain", "pytest"}
    assert direct_requirements(chosen) == "-e .\npytest\n"
    assert " ".join(highest_arguments(chosen, Path("d.in"))) == (
        "pip compile d.in --no-header --no-annotate --group dev --resolution highest"
    )
    answer = "-e .\nplain==9.1\npytest==9.0 ; python_version > '3'\nother==1\nweb==2.5\n"
    assert lower_bounds(chosen.lowest, answer).split() == ["pytest>=9.0", "plain>=9.1", "pytest>=7.4"]
    assert bounded_requirements(chosen, chosen.lowest) == "-e .\nlinter>=3\n"
    assert " ".join(lowest_arguments(chosen, Path("b.in"), Path("c.txt"))) == (
        "pip compile b.in --no-header --no-annotate --resolution lowest-direct --constraints c.txt"
    )
    assert exact_versions(chosen.lowest, "web==2.0\nplain==9.1\nlinter==3.0\n").split() == [
        "web==2.0", "linter==3.0", "pytest>=7.4",
    ]  # fmt: skip
