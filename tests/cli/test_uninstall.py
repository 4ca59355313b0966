"""`testgrove uninstall`: what testgrove has goes, in all projects; what is the user's stays, and is named."""

from __future__ import annotations

import os
import pty
import shutil
from pathlib import Path

import pytest

from auditor import git
from grove import MAKE_A_TABLE, TESTGROVE, Grove, keepers, said
from testgrove.app.holder import holding
from testgrove.system.locations import locate
from testgrove.system.store import Store


def of_ours(one: Grove) -> list[Path]:
    """The folders that testgrove makes outside of repositories, those that are there."""
    return [each for each in (one.state, one.cache, one.scratch, one.memory, one.root) if each.exists()]


def left(document: dict) -> dict[str, str]:
    return {each["what"]: each["how"] for each in document["left"]}


@pytest.fixture
def one(grove) -> Grove:
    """A project with a worktree."""
    one: Grove = grove()
    one.create("test-unit", "a", "--ports", "--no-env")
    return one


def test_everything_goes_in_all_projects(grove):
    one = grove()
    exclude = one.repo / ".git/info/exclude"
    exclude.write_text("mine\n/.env.test")  # without a line break at its end
    other = one.sibling("other")
    shutil.rmtree(other.repo / ".git/info", ignore_errors=True)
    one.create("test-unit", "a", "--ports", "--no-env")
    other.create("test-unit", "a")
    (one.cache / "templates").mkdir(exist_ok=True)
    (one.state / "damaged-20260101T000000.0").mkdir()
    (one.state / "damaged-20260101T000000.0/state.db").write_bytes(b"x")
    tree = one.tree("test-unit-a")
    (tree / "junit.xml").write_text("<testsuites/>")
    commits = one.auditor(other).commits()

    document = one.json("uninstall", "--yes", cwd=one.base)

    assert document["complete"]
    assert left(document) == {str(one.artifacts): f"rm -r {one.artifacts}"}
    assert (one.artifacts / "test-unit-a/junit.xml").is_file()
    one.auditor(other).assert_nothing()
    one.auditor(other).assert_commits_kept(commits)
    assert of_ours(one) == []
    assert exclude.read_text() == "mine\n/test-artifacts/\n"  # what a line hides is there
    for project in (one, other):
        assert not (project.repo / "worktrees_registry.json").exists()
        assert not (project.repo / ".git/testgrove.lock").exists()
        assert project.git("status", "--porcelain") == ""
    assert (other.repo / ".git/info/exclude").read_text() == ""


def test_what_is_the_users_stays_and_is_known(one):
    other = one.sibling("other")
    other.create("test-unit", "b")
    tree = one.tree("test-unit-a")
    (tree / "notes.txt").write_text("mine")
    commits = one.auditor(other).commits()

    done = one.run("uninstall", "--yes", check=False)

    assert done.returncode == 3, said(done)
    assert "notes.txt" in done.stderr
    assert "testgrove remove test-unit-a --force" in done.stderr
    assert (tree / "notes.txt").read_text() == "mine"
    assert not other.root.exists()
    assert one.worktrees().keys() == {"test-unit-a"}
    one.auditor(other).assert_commits_kept(commits)
    one.run("remove", "test-unit-a", "--force")
    assert one.json("uninstall", "--yes")["complete"]
    assert of_ours(one) == []


def test_commits_that_clean_up_has_kept_stay(one):
    tree = one.tree("test-unit-a")
    git(tree, "switch", "--quiet", "--create", "topic")
    git(tree, "commit", "--quiet", "--allow-empty", "--message", "work")
    commit = git(tree, "rev-parse", "HEAD").strip()
    git(one.repo, "update-ref", "refs/testgrove/rescued/test-unit-z", commit)
    document = one.json("uninstall", "--yes")
    assert document["complete"]
    (what,) = [each for each in left(document) if "work" in each]
    assert "update-ref -d refs/testgrove/rescued/test-unit-z" in left(document)[what]
    assert one.git("rev-parse", "refs/testgrove/rescued/test-unit-z").strip() == commit


def test_nothing_is_removed_without_an_answer(one):
    done = one.run("uninstall", check=False)
    assert done.returncode == 2, said(done)
    assert f"remove  worktree test-unit-a of {one.repo}" in done.stderr
    assert "testgrove uninstall --yes" in done.stderr
    assert answered(one, b"n\n") == 130
    assert one.worktrees().keys() == {"test-unit-a"}
    assert answered(one, b"y\n") == 0
    assert of_ours(one) == []


def answered(one: Grove, answer: bytes) -> int:
    """The exit status of an uninstall that is asked for in a terminal."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(one.repo)
        os.execve(TESTGROVE[0], [*TESTGROVE, "uninstall"], one.env)
    os.write(terminal, answer)
    try:
        while os.read(terminal, 4096):
            pass
    except OSError:  # the other end is closed
        pass
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_it_refuses_while_another_command_runs(one, monkeypatch):
    for name, value in one.env.items():
        monkeypatch.setenv(name, value)
    locations = locate(os.environ)
    store = Store(locations.store)
    with holding(store, locations, "testgrove something"):
        done = one.run("uninstall", "--yes", check=False)
    store.close()
    assert done.returncode == 3, said(done)
    assert f"pid {os.getpid()} (`testgrove something`)" in done.stderr
    assert one.worktrees().keys() == {"test-unit-a"}


def test_worktrees_of_a_repository_that_was_moved_stay(one):
    tree = one.tree("test-unit-a")
    (tree / "notes.txt").write_text("mine")
    one.repo.rename(one.base / "moved")
    done = one.run("uninstall", "--yes", cwd=one.base, check=False)
    assert done.returncode == 3, said(done)
    assert f"git worktree repair {tree}" in done.stderr
    assert (tree / "notes.txt").read_text() == "mine"
    shutil.rmtree(tree)
    assert one.json("uninstall", "--yes", cwd=one.base)["complete"]


def test_other_things_in_its_folders_stay(one):
    one.cache.mkdir(exist_ok=True)
    (one.cache / "mine.txt").write_text("mine")
    (one.scratch / "other").mkdir()
    document = one.json("uninstall", "--yes")
    assert document["complete"]
    assert left(document).keys() == {str(one.cache), str(one.scratch)}
    assert of_ours(one) == [one.cache, one.scratch]


def test_broken_settings_leave_the_project_for_another_try(one):
    (one.repo / "testgrove.toml").write_text("root = 7\n")
    done = one.run("uninstall", "--yes", check=False)
    assert done.returncode == 3, said(done)
    assert "testgrove.toml" in done.stderr
    one.git("checkout", "--quiet", "testgrove.toml")
    assert one.json("uninstall", "--yes")["complete"]


@pytest.mark.slow
@pytest.mark.postgres
def test_servers_and_their_keeper_go(grove, require_postgres):
    one = grove(config=f'[services.postgres]\nmigrate = "{MAKE_A_TABLE}"\n')
    one.run("create", "--purpose", "review", "--identifier", "a", "--branch", "main")
    assert keepers(one.base)
    assert one.json("uninstall", "--yes")["complete"]
    assert not keepers(one.base)
    one.auditor().assert_nothing(within=5)
    assert of_ours(one) == []
