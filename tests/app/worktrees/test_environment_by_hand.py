"""`.venv` deleted, made again and replaced by hand, as a user types it: noticed, accepted or refused."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from grove import Grove, said
from needs import interpreter

FILES = {
    "README.md": "A project.\n", "shop/__init__.py": "VALUE = 1\n",
    "pyproject.toml": '[project]\nname = "shop"\nversion = "1"\n[tool.uv]\npackage = false\n'
    '[tool.pytest.ini_options]\npythonpath = ["."]\n',
    "tests/test_shop.py": "import shop\n\ndef test_it():\n    assert shop.VALUE == 1\n",
}  # fmt: skip
PREFIX = ("python", "-c", "import sys; print(sys.prefix, '%d.%d' % sys.version_info[:2])")


@pytest.fixture
def project(grove, pythons) -> Grove:
    project = grove(files=FILES)
    project.create("review", "a", "--python", pythons[0])
    return project


def tree_of(project: Grove) -> Path:
    return project.root / "review-a"


def shell(tree: Path, line: str) -> None:
    done = subprocess.run(["/bin/sh", "-ec", line], cwd=tree, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def prefix(project: Grove, name: str = "a") -> list[str]:
    return project.run("exec", name, "--", *PREFIX).stdout.split()


def test_deleted(project, pythons):
    tree = tree_of(project)
    shutil.rmtree(tree / ".venv")
    for command in (("exec", "a", "--", "python", "--version"), ("shell", "a")):
        done = project.run(*command, check=False, env={"SHELL": "/bin/sh"})
        assert done.returncode == 3, said(done)
        assert f"review-a has no environment: {tree}/.venv is missing" in done.stderr
        assert "hint: testgrove sync review-a\n" in done.stderr
    assert "environment: rebuilt: it was missing" in project.run("sync", "a").stdout
    assert prefix(project) == [f"{tree}/.venv", pythons[0]]
    project.run("remove", "a")
    project.auditor().assert_nothing()


@pytest.mark.slow
@pytest.mark.parametrize("pip", ["", "--without-pip"])
def test_made_again_with_the_same_python(project, pythons, pip):
    tree = tree_of(project)
    shell(tree, f"rm -rf .venv; {interpreter(pythons[0])} -m venv {pip} .venv")
    assert prefix(project) == [f"{tree}/.venv", pythons[0]]
    marker = tree / ".venv/lib" / f"python{pythons[0]}" / "site-packages/mine.py"
    marker.write_text("")  # as `pip install` would
    done = project.run("sync", "a")
    assert "made by hand with Python" in done.stderr
    assert "is up to date" in done.stdout
    assert marker.exists()
    # Once the dependencies change, it is testgrove's turn again.
    project.write({"requirements.txt": "pytest\n"}, commit="dependencies")
    assert "environment: rebuilt" in project.run("sync", "a").stdout
    assert not marker.exists()
    project.run("remove", "a")
    project.auditor().assert_nothing()


@pytest.mark.parametrize("way", ["rm -rf .venv; {other} -m venv --without-pip .venv",
                                 "{other} -m venv --clear --without-pip .venv"])  # fmt: skip
def test_replaced_by_another_python(project, pythons, way):
    tree = tree_of(project)
    shell(tree, way.format(other=interpreter(pythons[1])))
    for command in (("exec", "a", "--", "true"), ("shell", "a"), ("sync", "a")):
        done = project.run(*command, check=False)
        assert done.returncode == 3, said(done)
        assert f"{tree}/.venv has Python {pythons[1]}." in done.stderr
        assert f", but the worktree was created with {pythons[0]}." in done.stderr
        assert f"hint: rm -rf {tree}/.venv; testgrove sync review-a" in done.stderr
    subprocess.run(["/bin/sh", "-c", f"rm -rf {tree}/.venv"], check=True)
    project.run("sync", "review-a")
    assert prefix(project) == [f"{tree}/.venv", pythons[0]]


def test_another_python_over_the_old_one_is_refused(project, pythons):
    """`python3.X -m venv .venv` over an environment leaves its Python, and installs a pip of X."""
    tree = tree_of(project)
    shell(tree, f"{interpreter(pythons[1])} -m venv --without-pip .venv")
    mends = f"rm -rf {tree}/.venv; testgrove sync review-a"
    for command in (("exec", "a", "--", "true"), ("sync", "a")):
        done = project.run(*command, check=False)
        assert done.returncode == 3, said(done)
        two = f"{tree}/.venv is of two interpreters: Python {pythons[0]} runs in it, and {pythons[1]} was made over it"
        assert two in done.stderr or f"{tree}/.venv has Python {pythons[1]}." in done.stderr
        assert f"hint: {mends}\n" in done.stderr
    assert mends in project.run("doctor", check=False).stdout
    shutil.rmtree(tree / ".venv")
    project.run("sync", "a")
    assert prefix(project) == [f"{tree}/.venv", pythons[0]]


@pytest.mark.slow
@pytest.mark.parametrize(
    "way", ["rm -rf .venv; mkdir .venv", "rm -rf .venv; ln -s {main} .venv", "rm .venv/bin/python*"]
)
def test_what_is_no_environment_is_named(project, way):
    main = project.base / "elsewhere"
    shell(project.base, f"{interpreter(project_python())} -m venv --without-pip {main}")
    shell(tree_of(project), way.format(main=main))
    done = project.run("exec", "a", "--", "true", check=False)
    assert done.returncode == 3, said(done)
    assert f"{tree_of(project)}/.venv" in done.stderr
    assert "hint: rm -rf" in done.stderr
    hint = done.stderr.rsplit("hint: ", 1)[1].strip()
    shell(tree_of(project), hint.split(";", maxsplit=1)[0])
    project.run("sync", "a")
    project.run("exec", "a", "--", "true")
    assert main.exists()


def project_python() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def test_a_worktree_made_without_one_stays_without(project):
    project.create("review", "b")
    assert project.run("exec", "b", "--", "printenv", "PIP_REQUIRE_VIRTUALENV").stdout == "1\n"
    project.run("sync", "b")
    assert not (project.root / "review-b/.venv").exists()


@pytest.mark.slow
def test_a_run_makes_a_replaced_one_anew_in_its_own_worktree(project, pythons):
    project.run("test", "--python", pythons[0])
    parked = next(Path(entry["path"]) for entry in project.worktrees().values() if entry["status"] == "parked")
    shell(parked, f"rm -rf .venv; {interpreter(pythons[1])} -m venv --without-pip .venv")
    done = project.run("test", "--python", pythons[0])
    assert "1 passed" in done.stdout
    assert len([e for e in project.worktrees().values() if e["status"] == "parked"]) == 1
