"""`sync`: what is brought up to date, and what of the user's stays as it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from auditor import checkouts, git
from grove import Grove, said

FILES = {
    "README.md": "A project.\n", ".gitignore": "*.local\nmade/\n", "src/code.py": "VALUE = 1\n",
    "tests/test_it.py": "def test_it(): pass\n",
}  # fmt: skip


@pytest.fixture
def project(grove) -> Grove:
    return grove(files=FILES, config='copy = ["*.local"]\n')


def commit(tree: Path, name: str, text: str = "new\n") -> str:
    (tree / name).write_text(text)
    git(tree, "add", name)
    git(tree, "commit", "--quiet", "--message", f"change {name}")
    return git(tree, "rev-parse", "HEAD").strip()


def sync(project: Grove, name: str = "a", status: int = 0, **options) -> str:
    done = project.run("sync", name, check=False, **options)
    assert done.returncode == status, said(done)
    return done.stdout + done.stderr


def test_nothing_to_do_is_said_and_nothing_is_touched(project):
    project.create("review", "a")
    tree = project.root / "review-a"
    before = {path: path.stat().st_mtime_ns for path in tree.rglob("*") if ".git" not in path.parts}
    assert "review-a is up to date" in sync(project)
    assert {path: path.stat().st_mtime_ns for path in tree.rglob("*") if ".git" not in path.parts} == before
    project.run("remove", "a")
    project.auditor().assert_nothing()


def test_a_detached_worktree_follows_the_ref_it_was_made_from(project):
    project.create("review", "a")
    tree = project.root / "review-a"
    newest = commit(project.repo, "README.md")
    assert f"-> {newest[:10]} (main)" in sync(project)
    assert (tree / "README.md").read_text() == "new\n"
    assert git(tree, "rev-parse", "HEAD").strip() == newest
    assert json.loads((tree / ".worktree-metadata.json").read_text())["commit"] == newest
    assert project.worktrees()["review-a"]["commit"] == newest
    # The commit came from a ref. It is the user's once no ref holds it.
    project.git("reset", "--quiet", "--hard", "HEAD~1")
    refused = project.run("remove", "a", check=False)
    assert f"commit {newest[:10]} change README.md (on no branch)" in refused.stderr
    project.git("branch", "kept", newest)
    project.run("remove", "a")
    project.auditor().assert_nothing()


def test_a_branch_follows_its_upstream(project):
    project.git("branch", "topic")
    project.git("update-ref", "refs/remotes/origin/topic", "main")
    project.git("config", "remote.origin.url", "https://example.invalid/x.git")
    project.git("config", "remote.origin.fetch", "+refs/heads/*:refs/remotes/origin/*")
    project.git("branch", "--quiet", "--set-upstream-to=origin/topic", "topic")
    project.create("review", "a", branch="topic")
    newest = commit(project.repo, "README.md")
    project.git("update-ref", "refs/remotes/origin/topic", newest)
    assert f"-> {newest[:10]} (origin/topic)" in sync(project)
    assert project.git("rev-parse", "topic").strip() == newest
    assert git(project.root / "review-a", "branch", "--show-current").strip() == "topic"


def test_a_branch_of_ones_own_has_nothing_to_follow(project):
    project.create("review", "a", "--new-branch", "--no-env", branch="mine")
    tree = project.root / "review-a"
    mine = commit(tree, "README.md")
    commit(project.repo, "other.md")
    assert "up to date" in sync(project)
    assert git(tree, "rev-parse", "HEAD").strip() == mine
    assert project.worktrees()["review-a"]["commit"] == mine


@pytest.mark.parametrize("change", ["modified", "staged", "conflicting", "diverged", "rebasing"])
def test_what_could_lose_something_is_refused_and_the_rest_is_done(project, change):
    project.create("review", "a")
    tree = project.root / "review-a"
    newest = commit(project.repo, "new.md" if change == "conflicting" else "README.md")
    project.write({"x.local": "1\n"})
    if change in ("modified", "staged"):
        (tree / "src/code.py").write_text("mine\n")
        git(tree, "add", "--all") if change == "staged" else None
    elif change == "conflicting":
        (tree / "new.md").write_text("mine\n")
    elif change == "diverged":
        commit(tree, "src/code.py")
    else:
        (project.repo / ".git/worktrees/review-a/rebase-merge").mkdir()
    before = git(tree, "rev-parse", "HEAD"), git(tree, "status", "--porcelain")
    words = sync(project, status=3)
    assert newest[:10] in words
    why = {
        "modified": "src/code.py is modified", "staged": "src/code.py is modified",
        "conflicting": "cannot fast-forward",
        "diverged": "its own commits", "rebasing": "a rebase is not finished",
    }  # fmt: skip
    assert why[change] in words
    assert "everything else is up to date" in words
    assert (git(tree, "rev-parse", "HEAD"), git(tree, "status", "--porcelain")) == before
    assert (tree / "x.local").read_text() == "1\n"
    assert project.run("remove", "a", check=change == "rebasing!").returncode == 3


def test_copies_are_renewed_and_edited_ones_are_kept(project):
    project.write(dict.fromkeys(("edited.local", "changed.local", "both.local", "gone.local", "same.local"), "1\n"))
    project.create("review", "a")
    tree = project.root / "review-a"
    (tree / "edited.local").write_text("mine\n")
    (tree / "both.local").write_text("mine\n")
    (tree / "gone.local").unlink()
    project.write({"changed.local": "2\n", "both.local": "2\n", "new.local": "1\n"})
    words = sync(project)
    for name, text in (("edited", "mine"), ("both", "mine"), ("gone", "1"), ("changed", "2"), ("new", "1")):
        assert (tree / f"{name}.local").read_text() == f"{text}\n"
    for name in ("changed", "gone", "new"):
        assert f"copied: {name}.local" in words
    for name in ("edited", "both"):
        assert f"kept: {name}.local: edited here" in words
    assert "same.local" not in words
    assert not (tree / ".testgrove-tmp").exists()
    done = project.run("remove", "a", check=False)
    assert done.returncode == 3
    assert done.stderr.count(".local (") == 2, said(done)
    for name in ("edited", "both"):
        (tree / f"{name}.local").unlink()
    project.run("remove", "a")
    project.auditor().assert_nothing()


@pytest.mark.slow
def test_changed_dependencies_make_the_environment_anew_and_setup_runs_again(grove):
    project = grove(files=FILES, config='setup = ["mkdir -p made && date +%N > made/at"]\n')
    project.create("review", "a", "--ports")
    tree = project.root / "review-a"
    at = (tree / "made/at").read_text()
    assert "up to date" in sync(project)
    assert (tree / "made/at").read_text() == at
    commit(project.repo, "requirements.txt", "pytest\n")
    words = sync(project)
    assert "environment: rebuilt: the dependencies" in words
    assert "setup: run again" in words
    assert (tree / "made/at").read_text() != at
    assert (
        project.run("exec", "a", "--", "python", "-c", "import sys, pytest; print(sys.prefix)").stdout
        == f"{tree}/.venv\n"
    )
    project.run("remove", "a")
    project.auditor().assert_nothing()


def test_what_its_user_writes_while_setup_runs_stays_his(grove):
    setup = ["mkdir -p made && echo x >> made/at && { test ! -e go || echo mine > mine.txt; }"]
    project = grove(files=FILES, config=f"setup = {json.dumps(setup)}\n")
    project.create("review", "a")
    tree = project.root / "review-a"
    (tree / "go").write_text("")
    commit(project.repo, "README.md")
    sync(project)
    assert (tree / "made/at").read_text() == "x\nx\n"
    done = project.run("remove", "a", check=False)
    assert done.returncode == 3
    assert "mine.txt" in done.stderr
    assert "made/at" not in done.stderr


@pytest.mark.slow
def test_submodules_follow(grove):
    project: Grove = grove()
    other = project.sibling("library", files={"lib.py": "VALUE = 1\n"})
    allow = ("-c", "protocol.file.allow=always")
    project.git(*allow, "submodule", "add", "--quiet", str(other.repo), "vendor/lib")
    project.git("commit", "--quiet", "--message", "a submodule")
    project.create("review", "a")
    other.write({"lib.py": "VALUE = 2\n"}, commit="two")
    git(project.repo / "vendor/lib", "pull", "--quiet")
    project.git("commit", "--quiet", "--all", "--message", "newer")
    sync(project)
    assert (project.root / "review-a/vendor/lib/lib.py").read_text() == "VALUE = 2\n"
    assert git(project.root / "review-a", "status", "--porcelain") == ""
    project.run("remove", "a")
    assert checkouts(project.repo) == []


@pytest.mark.slow
def test_parked_and_held_worktrees_are_refused(project):
    project.run("test")
    done = project.run("sync", "test-tests-tree", check=False)
    assert done.returncode == 3
    assert "is parked" in done.stderr
    done = project.run("sync", "nothing", check=False)
    assert done.returncode == 3
    assert "worktree 'nothing' not found" in done.stderr


def test_the_document(project):
    project.write({"x.local": "1\n"})
    project.create("review", "a")
    project.write({"x.local": "22\n"})
    document = project.json("sync", "a")
    assert document == {"schema_version": 1, "worktree": "review-a", "done": ["copied: x.local"], "notes": []}


def test_an_edited_env_file_is_kept(project):
    project.create("review", "a", "--ports", "--no-env")
    env_file = project.root / "review-a/.env.test"
    env_file.write_text("# mine\n" + env_file.read_text())
    before = env_file.read_text()
    assert "kept: .env.test: edited here" in sync(project)
    assert env_file.read_text() == before
