"""`testgrove doctor`: what is wrong is named with the next command, and --fix mends what is testgrove's own."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time

import pytest

from grove import Grove, said

FLAT = """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[project]
name = "flat"
version = "1"
[tool.mypy]
"""


def wrong(project: Grove, *words: str, status: int = 3) -> dict[str, str]:
    """Area and subject of what is wrong: the problem."""
    done = project.run("doctor", *words, check=False)
    assert done.returncode == status, said(done)
    document = project.json("doctor", check=False)
    return {f"{each['area']} {each['subject']}": each["problem"] for each in document["findings"] if not each["ok"]}


def test_a_project_in_order(grove):
    project = grove(config='pythons = ["3.11"]\n[services.sqlite]\nmigrate = "true"\n')
    project.create("review", "a", "--ports", "--no-env")
    done = project.run("doctor")
    assert done.stderr.endswith("no problems found\n")
    for line in (
        "tools         uv ",
        "interpreters  Python 3.11",
        "services      sqlite is available",
        "review-a",
        "ports ",
    ):
        assert line in done.stdout, line
    assert project.run("doctor", "--quiet").stdout == ""
    assert project.auditor().leftovers().processes == []


def test_worktrees_that_were_deleted_by_hand_are_mended(grove):
    project = grove()
    project.create("review", "a", "--ports", "--no-env")
    shutil.rmtree(project.root / "review-a")
    (project.repo / "worktrees_registry.json").write_text("{")
    found = wrong(project)
    assert "is missing" in found["worktrees review-a"]
    assert "refusing to overwrite it" in found["registry worktrees_registry.json"]
    done = project.run("doctor", "--fix")
    assert (project.repo / "worktrees_registry.json.before-testgrove").read_text() == "{", "it may be the user's"
    assert "fixed   worktrees     review-a" in done.stdout
    assert project.worktrees() == {}
    assert not (project.repo / "worktrees_registry.json").exists(), "there is nothing to show"
    assert project.run("doctor").returncode == 0
    project.auditor().assert_nothing()


def test_a_write_of_the_registry_that_did_not_end_is_cleaned_up(grove):
    project = grove()
    project.create("review", "a", "--no-env")
    (project.repo / ".worktrees_registry.json.tmp").write_text("{")
    assert "is out of date" in wrong(project)["registry worktrees_registry.json"]
    project.run("doctor", "--fix")
    project.auditor().assert_no_leftovers(within=2.0)


def test_a_registry_of_the_users_is_left_alone(grove):
    project = grove()
    path, own = project.repo / "worktrees_registry.json", '{"worktrees": {"mine": {}}, "allocated_ports": [8001]}'
    path.write_text(own)
    made = project.create("review", "a")
    assert f"note: {path} was not written by testgrove; refusing to overwrite it" in made.stderr, said(made)
    project.run("remove", "review-a")
    assert path.read_text() == own
    assert "was not written by testgrove" in wrong(project)["registry worktrees_registry.json"]
    project.run("doctor", "--fix")
    assert (project.repo / "worktrees_registry.json.before-testgrove").read_text() == own
    project.create("review", "b")
    assert list(project.registry()["worktrees"]) == ["review-b"]


def test_what_only_the_user_can_mend_says_how(grove):
    project = grove(config='pythons = ["3.2"]\n[services.postgres]\nhost = "postgresql://nobody@127.0.0.1:1/none"\n')
    found = wrong(project, "--fix")
    assert "3.2" in found["interpreters Python 3.2"]
    assert "cannot use" in found["services postgres"]
    assert "hint: " in project.run("doctor", check=False).stdout


def test_an_environment_that_is_gone_and_a_stranger_on_a_port(grove):
    project = grove()
    project.create("review", "a", "--ports")
    shutil.rmtree(project.root / "review-a/.venv")
    port = project.worktrees()["review-a"]["ports"]["app"]
    program = (
        f"import socket, time; s = socket.create_server(('127.0.0.1', {port})); print(1, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, cwd="/") as stranger:
        try:
            assert stranger.stdout.readline()
            found = wrong(project)
            assert "has no environment: " in found["worktrees review-a"]
            assert str(stranger.pid) in found[f"ports {port} of review-a"]
            assert f"kill {stranger.pid}" in project.run("doctor", check=False).stdout
        finally:
            stranger.kill()
    project.run("sync", "review-a")
    assert project.run("doctor").returncode == 0


def test_a_root_inside_the_repository_is_judged(grove):
    project = grove(files={"pyproject.toml": FLAT, "flat.py": ""}, config='root = "worktrees"\n')
    found = wrong(project)
    (problem,) = found.values()
    assert "setuptools" in problem or "mypy" in problem
    project.write({"testgrove.toml": (project.repo / "testgrove.toml").read_text().replace('root = "worktrees"', "")})
    assert project.run("doctor").returncode == 0


def test_settings_that_cannot_be_read_are_a_finding(grove):
    project = grove()
    project.write({"testgrove.toml": "nonsense = 1\n"})
    assert "nonsense" in wrong(project)["settings read"]


def test_a_check_that_fails_leaves_the_others(grove):
    project = grove(config='root = "/"\n')
    done = project.run("doctor", check=False)
    assert done.returncode == 3, said(done)
    assert "wrong   root          check: root = '/': / contains the repository itself" in done.stdout, said(done)
    assert "ports" in done.stdout, said(done)


@pytest.mark.slow
def test_what_a_command_that_died_left_is_named(grove):
    project = grove(config='setup = ["touch here; sleep 60"]\n')
    words = ("create", "--purpose", "review", "--identifier", "a", "--branch", "main", "--no-env", "--ports")
    command = project.start(*words)
    deadline = time.monotonic() + 30
    while not (project.root / "review-a/here").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    command.send_signal(signal.SIGKILL)
    command.communicate()
    done = project.run("doctor")
    assert "which was killed" in done.stderr
    assert project.worktrees() == {}
    project.auditor().assert_nothing(within=3.0)
