"""Containers that scenarios leave behind, on a real engine."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from docker_engine import IMAGE, DockerEngine, docker_engine
from grove import Grove, said

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("docker")]  # one engine

HELP = f"""
import os, subprocess, time
from pathlib import Path

meet = Path(os.environ["MEET"])

def start(name, *options):
    words = ["docker", "run", "--detach", "--network", "none", "--name", name, *options, "{IMAGE}"]
    subprocess.run([*words, "/busybox", "sleep", "900"], check=True, capture_output=True)

def await_file(name):
    deadline = time.monotonic() + 120
    while not (meet / name).exists():
        assert time.monotonic() < deadline, name
        time.sleep(0.05)
"""
LEAVES = """
def test_leaves_two_containers():
    await_file("somebody-has-started")
    start("mounted", "--volume", f"{os.getcwd()}:/project")
    start("plain")
"""
TIDY = """
def test_takes_its_container_away_again():
    start("tidied")
    (meet / "tidy-runs").touch()
    await_file("leaves-was-looked-at")
    subprocess.run(["docker", "rm", "--force", "tidied"], check=True)
"""
LATER = """
def test_runs_where_the_other_did():
    (meet / "leaves-was-looked-at").touch()
"""


@pytest.fixture(scope="module")
def engine() -> Iterator[DockerEngine]:
    with docker_engine() as engine:
        yield engine


@pytest.fixture
def project(grove, tmp_path) -> Grove:
    tests = {"leaves": LEAVES, "tidy": TIDY, "later": LATER}
    files = {f"tests/test_{name}.py": HELP + text for name, text in tests.items()}
    (tmp_path / "meet").mkdir()
    project: Grove = grove(files={"README.md": "A project.\n", **files}, config=f'[env]\nMEET = "{tmp_path}/meet"\n')
    project.root.mkdir()
    for name in ("one", "two"):
        project.git("worktree", "add", "--quiet", "-b", name, str(project.root / name))
    return project


def write_scenarios(project: Grove, *scenarios: dict[str, object]) -> None:
    (project.repo / "scenarios.json").write_text(json.dumps({"scenarios": scenarios}))


def container_leaks(project: Grove) -> set[tuple[str, str, str]]:
    document = json.loads((project.artifacts / "latest/integration_report.json").read_text())
    leaks = [leak for leak in document["resource_leaks"] if leak["type"] == "container"]
    found = {(leak["scenario"], leak["what"], leak["detail"]) for leak in leaks}
    assert len(found) == len(leaks)
    return found


def await_file(path: Path) -> None:
    deadline = time.monotonic() + 120
    while not path.exists():
        assert time.monotonic() < deadline, path
        time.sleep(0.05)


def test_a_container_is_told_with_the_scenario_that_left_it_and_not_its_neighbours_or_somebody_elses(
    project, engine, tmp_path
):
    write_scenarios(
        project,
        {"name": "tidy", "worktree": "two", "test_file": "tests/test_tidy.py"},
        {"name": "leaves", "worktree": "one", "test_file": "tests/test_leaves.py"},
        {"name": "later", "worktree": "one", "test_file": "tests/test_later.py", "dependencies": ["leaves"]},
    )
    meet = tmp_path / "meet"
    engine.run("was-there")
    words = ("coordinate", "--fail-on-leak", "--workers", "2")
    with project.start(*words, env={"VIRTUAL_ENV": sys.prefix} | engine.env) as coordinator:
        await_file(meet / "tidy-runs")
        engine.run("somebodys", "--label", "com.docker.compose.project.working_dir=/home/somebody/shop")
        (meet / "somebody-has-started").touch()
        out, err = coordinator.communicate(timeout=240)
    assert coordinator.returncode == 6, out + err
    told = container_leaks(project)
    mounted = ("leaves", f"mounted ({IMAGE})", "")
    assert mounted in told
    # Nothing tells which of the two has started it; the one that began first is blamed, and the other named.
    ((blamed, what, detail),) = told - {mounted}
    assert what == f"plain ({IMAGE})"
    assert detail in {f"or left by {other} running at the same time" for other in {"leaves", "tidy"} - {blamed}}


def test_the_engine_is_the_one_that_a_scenario_speaks_to(project, engine, tmp_path):
    engine.docker("rm", "--force", "plain", "mounted", check=False)
    (tmp_path / "meet/somebody-has-started").touch()
    scenario = {"name": "leaves", "worktree": "one", "test_file": "tests/test_leaves.py"}
    write_scenarios(project, scenario | {"env": {"DOCKER_HOST": engine.env["DOCKER_HOST"]}})
    env = {"VIRTUAL_ENV": sys.prefix} | engine.env | {"DOCKER_HOST": f"unix://{tmp_path}/nowhere"}
    done = project.run("coordinate", "--fail-on-leak", check=False, env=env)
    assert done.returncode == 6, said(done)
    assert container_leaks(project) == {("leaves", f"{name} ({IMAGE})", "") for name in ("mounted", "plain")}


def test_an_engine_that_does_not_answer_is_passed_over(project, engine, tmp_path):
    write_scenarios(project, {"name": "later", "worktree": "one", "test_file": "tests/test_later.py"})
    env = {"VIRTUAL_ENV": sys.prefix} | engine.env | {"DOCKER_HOST": f"unix://{tmp_path}/nowhere"}
    done = project.run("coordinate", "--fail-on-leak", check=False, env=env)
    assert done.returncode == 0, said(done)
