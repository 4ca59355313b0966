"""A file where a folder belongs, a branch that is gone, a full disk of another kind: said, and nothing is lost."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest

import needs
from auditor import git
from grove import TESTGROVE, Grove, said

FEW_INODES = 'mount -t tmpfs -o nr_inodes="$1",size=200m,mode=711 none "$0" && shift && exec "$@"'


def errors(one: Grove, *words: str, status: int = 3, **options: object) -> str:
    """What a command says that fails as expected."""
    done = one.run(*words, check=False, **options)
    assert done.returncode == status, said(done)
    assert "Traceback" not in done.stderr
    return done.stderr


def test_test_artifacts_is_a_file(grove):
    one = grove(config='[suites.unit]\ncommand = "true"\n')
    one.create("test-unit", "a")
    output = one.tree("test-unit-a") / "junit.xml"
    output.write_text("<testsuites/>")
    one.artifacts.write_text("mine")
    for words in (("test", "unit"), ("test", "unit", "--here"), ("artifacts", "collect"), ("remove", "test-unit-a")):
        error = errors(one, *words)
        assert f"{one.artifacts} is not a folder" in error
        assert f"hint: mv {one.artifacts} {one.artifacts}.old" in error
    one.run("cleanup", "--max-age", "0", "--yes")
    assert output.read_text() == "<testsuites/>"
    assert one.artifacts.read_text() == "mine"
    one.artifacts.unlink()
    one.run("remove", "test-unit-a")
    assert (one.artifacts / "test-unit-a/junit.xml").is_file()


def test_the_branch_that_is_checked_out_is_gone(grove):
    one = grove(config='[suites.unit]\ncommand = "true"\n')
    one.create("test-unit", "a", "--new-branch", "--base", "main", "--no-env", branch="topic")
    commit = one.git("rev-parse", "HEAD").strip()
    one.git("update-ref", "-d", "refs/heads/main")
    create = ("create", "--purpose", "test-unit", "--identifier", "b", "--branch", "main", "--no-env")
    for words in (("list",), create, ("test", "unit"), ("remove", "test-unit-a"), ("doctor",)):
        error = errors(one, *words)
        assert "the branch main, which is checked out, has no commit" in error
        assert f"git -C {one.repo} update-ref refs/heads/main {commit}" in error
    one.git("update-ref", "refs/heads/main", commit)
    one.git("update-ref", "-d", "refs/heads/topic")
    assert one.worktrees()["test-unit-a"]["status"] == "ready"
    for words in (("sync", "test-unit-a"), ("remove", "test-unit-a"), ("exec", "test-unit-a", "--", "true")):
        assert "Traceback" not in one.run(*words, check=False).stderr
    one.run("doctor", check=False)
    one.run("create", "--purpose", "test-unit", "--identifier", "c", "--branch", "main", "--no-env")


def moved(one: Grove) -> Grove:
    """The same project after its repository was renamed."""
    repo = one.repo.with_name("renamed")
    one.repo.rename(repo)
    return replace(one, repo=repo)


def test_a_repository_that_was_renamed(grove):
    one = grove()
    one.create("test-unit", "a", "--ports", "--no-env")
    one.create("test-unit", "b")
    tree = one.tree("test-unit-a")
    (tree / "notes.txt").write_text("mine")
    commits = one.auditor().commits()
    there = moved(one)
    assert "testgrove doctor" in there.run("list").stderr
    done = there.run("doctor", check=False)
    assert done.returncode == 3, said(done)
    assert f"this repository was moved from {one.repo}" in done.stdout
    there.run("doctor", "--fix", check=False)
    assert there.worktrees().keys() == {"test-unit-a", "test-unit-b"}
    assert (tree / "notes.txt").read_text() == "mine"
    assert "notes.txt" in errors(there, "remove", "test-unit-a")
    assert git(tree, "rev-parse", "HEAD") == there.git("rev-parse", "HEAD")
    there.auditor().assert_commits_kept(commits)
    there.run("remove", "test-unit-a", "test-unit-b", "--force")
    assert not one.root.exists()
    there.auditor().assert_nothing()
    assert there.json("ports", "list")["ports"] == []


def test_worktrees_that_cannot_be_adopted_stay_as_they_are(grove):
    one = grove()
    one.create("test-unit", "a")
    tree = one.tree("test-unit-a")
    there = moved(one)
    tree.rename(tree.with_name("elsewhere"))
    done = there.run("doctor", "--fix", check=False)
    assert done.returncode == 3, said(done)
    assert f"{tree} is missing or was also moved" in done.stdout
    assert there.worktrees() == {}
    assert (tree.with_name("elsewhere") / "README.md").is_file()


def test_a_copy_of_a_repository_is_another_project(grove):
    one = grove()
    one.create("test-unit", "a")
    copy = one.repo.with_name("copy")
    shutil.copytree(one.repo, copy, symlinks=True)
    there = replace(one, repo=copy)
    there.run("doctor", "--fix", check=False)
    assert there.worktrees() == {}
    assert one.worktrees().keys() == {"test-unit-a"}


@pytest.mark.parametrize(("place", "inodes"), [("root", 8), ("state", 4)])
def test_no_inodes_are_left(grove, place, inodes):
    one = grove()
    one.run("list")  # the folders are there
    folder = getattr(one, place)
    folder.mkdir(exist_ok=True, mode=0o700)
    program = (*needs.mount_namespace(), "sh", "-c", FEW_INODES, str(folder), str(inodes), *TESTGROVE)
    create = ("create", "--purpose", "test-unit", "--identifier", "a", "--branch", "main", "--no-env", "--ports")
    done = one.run(*create, program=program, check=False)
    assert "Traceback" not in done.stderr, said(done)
    assert done.returncode in (4, 5), said(done)
    assert "space" in done.stderr or "unable to open" in done.stderr, said(done)
    assert one.worktrees() == {}
    if one.root.is_dir():
        one.root.rmdir()  # the mount point
    one.auditor().assert_nothing()
