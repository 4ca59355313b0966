"""Completion in shells: commands, options, ids of worktrees, names of suites; quickly and without a word."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys

import pytest

import needs
from grove import Grove

FILES = {f"tests/{name}/test_{name}.py": "def test_it(): pass\n" for name in ("unit", "integration")}


@pytest.fixture
def project(grove) -> Grove:
    planted: Grove = grove(files=FILES)
    for identifier in ("a", "b"):
        planted.create("test-unit", identifier)
    return planted


def completed(project: Grove, line: str, **options) -> list[str]:
    """What a bash is told when Tab is pressed at the end of a line."""
    words = line.split(" ")
    env = {"_TESTGROVE_COMPLETE": "bash_complete", "COMP_WORDS": line.strip(), "COMP_CWORD": str(len(words) - 1)}
    done = project.run(env=env, **options)
    assert done.stderr == ""
    return [line.split(",", 1)[1] for line in done.stdout.splitlines() if line]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("testgrove sho", ["show"]),
        ("testgrove --ver", ["--version"]),
        ("testgrove unin", ["uninstall"]),
        ("testgrove ports re", ["reassign", "release"]),
        ("testgrove show ", ["test-unit-a", "test-unit-b"]),
        ("testgrove show test-unit-b", ["test-unit-b"]),
        ("testgrove exec test-unit-a", ["test-unit-a"]),
        ("testgrove sync test-unit-a", ["test-unit-a"]),
        ("testgrove db url test-unit-a", ["test-unit-a"]),
        ("testgrove remove test-unit-a ", ["test-unit-b"]),
        ("testgrove ports check t", ["test-unit-a", "test-unit-b"]),
        ("testgrove artifacts collect test-unit-b ", ["test-unit-a"]),
        ("testgrove test ", ["unit", "integration"]),
        ("testgrove test unit in", ["integration"]),
        ("testgrove list --status par", ["parked"]),
        ("testgrove report show ", ["latest"]),
        ("testgrove create --ident", ["--identifier"]),
        ("testgrove show --project /nowhere t", []),
    ],
)
def test_what_a_tab_gives(project, line, words):
    assert sorted(completed(project, line)) == sorted(words)


def test_outside_of_a_repository_nothing_is_said(project):
    assert completed(project, "testgrove show ", cwd=project.base) == []
    assert completed(project, f"testgrove show --project {project.repo} test-unit-a", cwd=project.base) == [
        "test-unit-a"
    ]


def test_names_of_commands_need_no_command(project):
    env = {"_TESTGROVE_COMPLETE": "bash_complete", "COMP_WORDS": "testgrove s", "COMP_CWORD": "1"}
    done = project.run(program=(sys.executable, "-X", "importtime", "-m", "testgrove"), env=env)
    loaded = set(re.findall(r"testgrove\.\S+", done.stderr))
    assert "testgrove.cli.main" in loaded
    assert not {name for name in loaded if name.startswith(("testgrove.app", "testgrove.system", "testgrove.cli.wo"))}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_is_one_that_the_shell_can_read(project, shell):
    script = project.run("completion", shell).stdout
    assert f"_TESTGROVE_COMPLETE={shell}_complete" in script
    if shutil.which(shell) is None:
        needs.missing(shell, f"there is no {shell}")
    option = "--no-execute" if shell == "fish" else "-n"
    subprocess.run([shell, option], input=script, text=True, check=True)


def test_in_a_bash(project, tmp_path):
    program = tmp_path / "testgrove"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m testgrove "$@"\n')
    program.chmod(0o755)
    script = """
    source <(testgrove completion bash)
    complete -p testgrove
    COMP_WORDS=(testgrove show test-unit-a) COMP_CWORD=2
    _testgrove_completion testgrove
    echo "got ${COMPREPLY[@]}"
    """
    env = project.env | {"PATH": f"{tmp_path}:{project.env['PATH']}"}
    done = subprocess.run(["bash", "-c", script], cwd=project.repo, env=env, text=True, capture_output=True, check=True)
    assert "-F _testgrove_completion testgrove" in done.stdout
    assert done.stdout.endswith("got test-unit-a\n")
    assert done.stderr == ""


def test_an_unknown_shell_is_refused(project):
    assert project.run("completion", "tcsh", check=False).returncode == 2
