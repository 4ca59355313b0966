"""How often commands start git. A count does not depend on the machine; what it costs is measured by benchmarks."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from grove import Grove

Calls = Callable[..., list[str]]


@pytest.fixture
def calls(tmp_path: Path) -> Calls:
    """Runs a command of a grove's; what git was asked meanwhile, a line for each process."""
    log, shim, real = tmp_path / "git.log", tmp_path / "bin/git", shutil.which("git")
    shim.parent.mkdir()
    shim.write_text(f'#!/bin/sh\necho "$*" >> {log}\nexec {real} "$@"\n')
    shim.chmod(0o755)

    def run(project: Grove, *words: str) -> list[str]:
        log.write_text("")
        project.run(*words, env={"PATH": f"{shim.parent}:{project.env['PATH']}"})
        return log.read_text().splitlines()

    return run


def test_list_starts_git_once_whatever_the_number_of_worktrees(grove, calls):
    project = grove()
    for identifier in "ab":
        project.create("test-unit", identifier)
    assert len(calls(project, "list")) == 1


def test_a_recycled_cell_starts_git_at_most_twelve_times(grove, calls):
    project = grove(config='[suites.unit]\ncommand = "pwd; touch left coverage.xml"\n')
    calls(project, "test")
    (tree,) = project.root.glob("tree-*")
    made = tree.stat().st_ino
    assert len(calls(project, "test")) <= 12
    assert len([*project.artifacts.glob("2*/test-*/coverage.xml")]) == 2
    assert (tree / "left").exists()
    project.write({"src/code.py": "VALUE = 2\n"}, commit="Another commit")
    assert len(calls(project, "test")) <= 12
    assert tree.stat().st_ino == made, "it was not recycled"


def test_create_starts_git_at_most_eleven_times(grove, calls):
    assert (
        len(calls(grove(), "create", "--purpose", "test-unit", "--identifier", "a", "--branch", "main", "--no-env"))
        <= 11
    )
