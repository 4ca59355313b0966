"""What is mounted in a worktree is not the worktree's: nothing is removed, recycled or moved through a mount point."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

import needs
from grove import TESTGROVE, Grove, said

SUITE = '[suites.unit]\ncommand = "true"\n'


@pytest.fixture
def project(grove) -> Grove:
    project = grove(config=SUITE)
    (project.base / "precious").mkdir()
    (project.base / "precious/data.log").write_text("keep")
    return project


def mounted(project: Grove, place: Path, *commands: tuple[str, ...]) -> list[subprocess.CompletedProcess[str]]:
    """Run each command where a folder of the user's is mounted at a place, which no other process sees."""
    place.mkdir(parents=True, exist_ok=True)
    script = 'mount --bind "$0" "$1" || exit 99; shift; exec "$@"'
    prefix = (*needs.mount_namespace(), "sh", "-c", script, str(project.base / "precious"), str(place))
    found = [project.run(*command, program=(*prefix, *TESTGROVE), check=False) for command in commands]
    assert (project.base / "precious/data.log").read_text() == "keep"
    return found


def is_refused(done: subprocess.CompletedProcess[str], place: Path) -> bool:
    return done.returncode == 3 and f"{place} is a mount point" in done.stderr and f"umount {place}" in done.stderr


def test_a_worktree_with_a_mount_in_it_is_not_removed(project):
    project.create("test-unit", "a")
    tree = project.root / "test-unit-a"
    (tree / "junit.xml").write_text("<testsuites/>")
    for name in (".mypy_cache", "htmlcov/x", "my src"):
        (done,) = mounted(project, tree / name, ("remove", "a"))
        assert is_refused(done, tree / name), said(done)
    forced, cleanup = mounted(
        project, tree / "logs", ("remove", "a", "--force"), ("cleanup", "--max-age", "0", "--yes")
    )
    assert is_refused(forced, tree / "logs"), said(forced)
    refusal = f"worktree test-unit-a cannot be removed: {tree}/logs is a mount point"
    assert f"skipped test-unit-a: {refusal}" in cleanup.stderr
    (done,) = mounted(project, tree, ("remove", "a"))
    assert is_refused(done, tree), "a mount over the worktree hides it"
    assert project.worktrees()["test-unit-a"]["status"] == "ready"
    assert (tree / "junit.xml").exists(), "nothing was touched"
    project.run("remove", "a")
    project.auditor().assert_nothing()


def test_a_parked_worktree_with_a_mount_in_it_is_not_recycled(project):
    project.run("test")
    place = project.tree("test-unit-tree") / ".mypy_cache"
    create, test = mounted(
        project, place, ("create", "--purpose", "test-unit", "--identifier", "tree", "--branch", "main"), ("test",)
    )
    assert is_refused(create, place), said(create)
    assert test.returncode == 0, said(test)
    assert "test-unit-tree-2" in project.worktrees(), "another one is made"
    project.run("test")
    assert not place.exists(), "once it is unmounted, the worktree is recycled"


def test_what_a_suite_mounts_stays_where_it_is(project):
    suite = 'mkdir -p logs && mount --bind "$PRECIOUS" logs && touch logs/new.log'
    project.write({"testgrove.toml": (project.repo / "testgrove.toml").read_text().replace('"true"', f"'{suite}'")})
    program = (*needs.mount_namespace(), *TESTGROVE)
    done = project.run("test", program=program, env={"PRECIOUS": str(project.base / "precious")})
    assert "logs is a mount point" in done.stdout, said(done)
    assert sorted(path.name for path in (project.base / "precious").iterdir()) == ["data.log", "new.log"]


def test_an_environment_with_a_mount_in_it_is_not_made_anew(project):
    project.create("test-unit", "a", "--ports")
    tree = project.root / "test-unit-a"
    (tree / ".venv/pyvenv.cfg").unlink()
    (done,) = mounted(project, tree / ".venv/src", ("sync", "a"))
    assert is_refused(done, tree / ".venv/src"), said(done)
    assert (tree / ".venv/bin/python").exists()
