"""`test --here`: suites in the current checkout, in its own environment or the active one."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from grove import MAKE_A_TABLE, Grove, said

FILES = {
    "README.md": "A project.\n",
    ".gitignore": ".venv\n__pycache__\n.pytest_cache\n*.local\n",
    "pytest.ini": "[pytest]\npythonpath = src\n",
    "src/shop.py": "VALUE = 1\n",
    "tests/test_shop.py": "import shop, sys, os, pathlib\n\ndef test_it():\n    assert shop.VALUE == 1\n"
    "    pathlib.Path(os.environ['OUT']).write_text(f'{sys.prefix}\\n{os.getcwd()}')\n",
}


@pytest.fixture
def project(grove) -> Grove:
    project = grove(files=FILES)
    project.env_out = {"OUT": str(project.base / "out")}
    return project


def here(project: Grove, *more: str, env: dict[str, str] | None = None, **options) -> subprocess.CompletedProcess[str]:
    return project.run("test", "--here", *more, env=project.env_out | (env or {}), check=False, **options)


def facts(project: Grove) -> list[str]:
    return (project.base / "out").read_text().splitlines()


def make(tree: Path, *more: str, python: str = sys.executable) -> Path:
    """An environment that sees this one's pytest."""
    folder = tree / ".venv"
    subprocess.run([python, "-m", "venv", "--without-pip", *more, folder], check=True)
    site = next(folder.glob("lib/python*/site-packages"))
    script = folder / "bin/pytest"
    script.write_text(f"#!{folder}/bin/python\nimport pytest, sys\nsys.exit(pytest.main())\n")
    script.chmod(0o755)
    (site / "tools.pth").write_text(f"{next(Path(sys.prefix).glob('lib/python*/site-packages'))}\n")
    return folder


def test_its_own_environment_and_nothing_is_written_but_artifacts(project):
    folder = make(project.repo)
    project.write({"src/shop.py": "VALUE = 1  # not committed\n", "new.local": "x"})
    before = {path for path in project.repo.rglob("*") if ".venv" not in path.parts}
    done = here(project, env={"VIRTUAL_ENV": sys.prefix})
    assert done.returncode == 0, said(done)
    assert "here · working tree: 1 modified" in done.stdout
    assert facts(project) == [str(folder), str(project.repo)]
    new = {path for path in project.repo.rglob("*") if ".venv" not in path.parts} - before
    caches = {path for path in new if {"__pycache__", ".pytest_cache"} & {*path.parts} or ".git" in path.parts}
    assert {path.relative_to(project.repo).parts[0] for path in new - caches} == {"test-artifacts"}
    assert project.git("status", "--porcelain") == " M src/shop.py\n"
    report = json.loads((project.runs()[0] / "report.json").read_text())
    assert "test-tests-here" in json.dumps(report)
    assert (project.runs()[0] / "test-tests-here/output.log").exists()
    assert project.worktrees() == {}
    assert not project.root.exists()
    project.auditor().assert_nothing()


@pytest.mark.slow
def test_the_active_environment_where_there_is_no_own(project, tmp_path):
    folder = make(tmp_path)
    for variables in ({"VIRTUAL_ENV": str(folder)}, {"PATH": f"{folder}/bin:/usr/bin:/bin", "VIRTUAL_ENV": ""}):
        done = here(project, env=variables)
        assert done.returncode == 0, said(done)
        assert facts(project)[0] == str(folder)


@pytest.mark.slow
def test_a_failure_and_its_report(project):
    make(project.repo)
    project.write({"src/shop.py": "VALUE = 2\n"})
    done = here(project)
    assert done.returncode == 1, said(done)
    assert "assert 2 == 1" in done.stdout
    project.auditor().assert_nothing()


def test_other_code_is_refused(project, tmp_path):
    """An environment in which the project is installed from another checkout."""
    project.write({"pytest.ini": "[pytest]\n"}, commit="no paths")
    project.create("review", "other")
    folder = make(project.repo)
    site = next(folder.glob("lib/python*/site-packages"))
    (site / "shop.pth").write_text(f"{project.root}/review-other/src\n")
    done = here(project)
    assert done.returncode == 1, said(done)
    assert "the tests would not run this tree: 'shop'" in done.stdout
    assert not (project.base / "out").exists()


@pytest.mark.slow
def test_in_a_worktree_its_environment_counts(project, pythons):
    project.create("review", "a", "--python", pythons[0])
    tree = project.root / "review-a"
    done = here(project, cwd=tree)
    assert done.returncode == 0, said(done)
    assert facts(project) == [f"{tree}/.venv", str(tree)]
    assert "test-tests-here-" in done.stdout
    project.run("remove", "a")
    project.create("review", "a", "--python", pythons[0])
    from needs import interpreter

    subprocess.run(
        ["/bin/sh", "-c", f"rm -rf {tree}/.venv; {interpreter(pythons[1])} -m venv {tree}/.venv"], check=True
    )
    done = here(project, cwd=tree)
    assert done.returncode == 1, said(done)
    assert f"has Python {pythons[1]}." in done.stdout
    assert "the worktree was created with" in done.stdout


def test_one_at_a_time(grove):
    project: Grove = grove(files=FILES, config='[suites.slow]\ncommand = "touch started; sleep 300"\n')
    project.env_out = {}
    make(project.repo)
    process = project.start("test", "--here")
    deadline = time.monotonic() + 60
    while not (project.repo / "started").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    done = here(project)
    assert done.returncode == 3, said(done)
    assert f"another `testgrove test --here` runs in {project.repo}" in done.stderr
    process.send_signal(2)
    process.communicate(timeout=60)
    assert process.returncode == 130
    project.auditor().assert_nothing()
    (project.repo / "started").unlink()


@pytest.mark.slow
def test_ports_and_databases_as_for_a_cell(grove, require_redis):
    test = """
import os, socket

def test_it():
    port = int(os.environ["REDIS_URL"].rsplit(":", 1)[1].split("/")[0])
    socket.create_connection(("127.0.0.1", port)).close()
    assert os.environ["API_PORT"].isdigit()
    assert os.environ["WORKTREE_ID"] == "test-db-here"
"""
    project: Grove = grove(
        files=FILES | {"tests/test_shop.py": test},
        config='[services.redis]\n[suites.db]\ncommand = "pytest tests"\nservices = ["redis"]\nports = true\n',
    )
    project.env_out = {}
    make(project.repo)
    done = here(project)
    assert done.returncode == 0, said(done)
    assert not (project.repo / ".env.test").exists()
    project.auditor().assert_nothing()
    project.create("review", "a", "--ports", "--no-env")
    assert min(project.worktrees()["review-a"]["ports"].values()) == project.ports.start, "ports have leaked"


@pytest.mark.slow
@pytest.mark.postgres
def test_a_migration_runs_here_too(grove, require_postgres):
    config = '[services.postgres]\nmigrate = "MIGRATE && sh -c \'test $PWD = {repo}; test -n \\"$PGPORT\\"\'"\n'
    suites = '[suites.db]\ncommand = "sh -c \'test -n \\"$DATABASE_URL\\"\'"\nservices = ["postgres"]\n'
    project: Grove = grove(files=FILES, config=config.replace("MIGRATE", MAKE_A_TABLE) + suites)
    project.env_out = {}
    make(project.repo)
    for _ in range(2):
        done = here(project)
        assert done.returncode == 0, said(done)
    project.auditor().assert_nothing()


@pytest.mark.parametrize("more", [["--ref", "main"], ["--python", "3"], ["-j", "2"], ["--keep-failed"]], ids=" ".join)
def test_what_asks_for_worktrees_is_refused(project, more):
    done = here(project, *more)
    assert done.returncode == 2, said(done)
    assert f"--here cannot be combined with {more[0]}" in done.stderr
    assert project.runs() == []


def test_no_environment_at_all(project):
    broken = project.repo / ".venv/bin"
    broken.mkdir(parents=True)
    (broken / "python").symlink_to("/nowhere")
    done = here(project)
    assert done.returncode == 1
    assert f"{project.repo}/.venv/bin/python" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
