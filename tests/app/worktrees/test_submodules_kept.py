"""What only a worktree's submodules and clones have: their repositories go with the worktree."""

from __future__ import annotations

from pathlib import Path

import pytest

from auditor import git
from grove import Grove, said

ALLOW = ("-c", "protocol.file.allow=always")


def commit(tree: Path, message: str, name: str = "mine.txt") -> str:
    for key, value in (("user.name", "A Tester"), ("user.email", "tester@example.invalid")):
        git(tree, "config", key, value)
    (tree / name).write_text(f"{message}\n")
    git(tree, "add", name)
    git(tree, "commit", "--quiet", "--message", message)
    return git(tree, "rev-parse", "HEAD").strip()


@pytest.fixture
def project(grove) -> Grove:
    """A project with a submodule `vendor/lib`, and in that another, `deep`."""
    project: Grove = grove(files={"README.md": "x\n"}, config='[suites.unit]\ncommand = "true"\n')
    inner = project.sibling("inner", files={"inner.py": "DEEP = 1\n"})
    library = project.sibling("library", files={"lib.py": "VALUE = 2\n", ".gitignore": "build/\n"})
    for outer, module, place in ((library, inner, "deep"), (project, library, "vendor/lib")):
        outer.git(*ALLOW, "submodule", "add", "--quiet", f"file://{module.repo}", place)
        outer.git("commit", "--quiet", "--message", "a submodule")
    project.git(*ALLOW, "submodule", "--quiet", "update", "--init", "--recursive")
    return project


def create(project: Grove, name: str) -> Path:
    config = project.base / "gitconfig"
    config.write_text('[protocol "file"]\n\tallow = always\n')
    project.create("test-unit", name, env={"GIT_CONFIG_GLOBAL": str(config)})
    return project.root / f"test-unit-{name}"


def ahead(tree: Path) -> str:
    made = commit(tree / "vendor/lib", "local work")
    git(tree / "vendor/lib", "checkout", "--quiet", "--detach", "HEAD~1")
    return f"submodule vendor/lib: commit {made[:10]} local work (in no remote)"


def on_a_branch(tree: Path) -> str:
    module = tree / "vendor/lib/deep"
    git(module, "switch", "--quiet", "--create", "topic")
    made = commit(module, "on a branch")
    git(module, "switch", "--quiet", "--detach", "HEAD~1")
    git(module, "reflog", "expire", "--expire=all", "--all")
    return f"submodule vendor/lib/deep: commit {made[:10]} on a branch (in no remote)"


def stashed(tree: Path) -> str:
    for key, value in (("user.name", "A Tester"), ("user.email", "tester@example.invalid")):
        git(tree / "vendor/lib", "config", key, value)
    (tree / "vendor/lib/lib.py").write_text("VALUE = 3\n")
    git(tree / "vendor/lib", "stash", "push", "--message", "for later")
    return "submodule vendor/lib: stash: On "


def deinitialised(tree: Path) -> str:
    made = commit(tree / "vendor/lib", "before it went")
    git(tree / "vendor/lib", "checkout", "--quiet", "--detach", "HEAD~1")
    git(tree, "submodule", "--quiet", "deinit", "--force", "vendor/lib")
    return f"submodule vendor/lib (not checked out): commit {made[:10]} before it went (in no remote)"


def file_in_deinitialised(tree: Path) -> str:
    git(tree, "submodule", "--quiet", "deinit", "--force", "vendor/lib")
    (tree / "vendor/lib").mkdir(exist_ok=True)
    (tree / "vendor/lib/notes.txt").write_text("mine\n")
    return "vendor/lib/notes.txt (not written by set-up or a test)"


def pinned_and_pushed_nowhere(tree: Path) -> str:
    git(tree, "switch", "--quiet", "--create", "moved")
    made = commit(tree / "vendor/lib", "pinned by a branch of mine")
    git(tree, "commit", "--quiet", "--all", "--message", "a newer submodule")
    return f"submodule vendor/lib: commit {made[:10]} pinned by a branch of mine (in no remote)"


def embedded(tree: Path) -> str:
    git(tree, "init", "--quiet", str(tree / "old"))
    made = commit(tree / "old", "inside")
    git(tree, "add", "old")
    git(tree, "switch", "--quiet", "--create", "embedding")
    git(tree, "commit", "--quiet", "--message", "a repository without .gitmodules")
    return f"submodule old: commit {made[:10]} inside (in no remote)"


@pytest.mark.slow
def test_what_only_a_submodule_has_keeps_its_worktree(project):
    things = (ahead, on_a_branch, stashed, deinitialised, file_in_deinitialised, pinned_and_pushed_nowhere, embedded)
    trees = {thing.__name__: create(project, thing.__name__.replace("_", "-")) for thing in things}
    clean = create(project, "clean")
    assert project.run("remove", "clean").returncode == 0
    assert not clean.exists()
    expected = {thing.__name__: thing(trees[thing.__name__]) for thing in things}
    before = project.auditor().commits()
    for name, tree in trees.items():
        done = project.run("remove", tree.name, check=False)
        assert done.returncode == 3, (name, said(done))
        assert expected[name] in done.stderr, (name, said(done))
    done = project.run("cleanup", "--max-age", "0", "--yes")
    assert done.stderr.count("skipped ") == len(trees)
    project.auditor().assert_commits_kept(before)
    project.run("remove", "--force", *(tree.name for tree in trees.values()))
    project.auditor().assert_nothing()


@pytest.mark.slow
def test_what_the_main_checkouts_copy_of_a_submodule_has_is_not_lost(project):
    tree = create(project, "a")
    made = commit(tree / "vendor/lib", "shared with the main checkout")
    git(project.repo / "vendor/lib", *ALLOW, "fetch", "--quiet", str(tree / "vendor/lib"), f"{made}:refs/heads/taken")
    git(tree / "vendor/lib", "checkout", "--quiet", "--detach", "HEAD~1")
    project.run("remove", "a")
    assert git(project.repo / "vendor/lib", "rev-parse", "taken").strip() == made
    project.auditor().assert_nothing()


@pytest.mark.slow
def test_a_commit_in_a_submodule_of_a_missing_folder_and_of_a_parked_worktree(project):
    config = project.base / "gitconfig"
    config.write_text('[protocol "file"]\n\tallow = always\n')
    env = {"GIT_CONFIG_GLOBAL": str(config)}
    project.run("test", env=env)
    tree = project.tree("test-unit-tree")
    project.run("test", env=env)
    assert list(project.worktrees()) == ["test-unit-tree"], "it was recycled"
    made = commit(tree / "vendor/lib", "in a parked one")
    git(tree / "vendor/lib", "checkout", "--quiet", "--detach", "HEAD~1")
    before = project.auditor().commits()
    assert made in before
    project.run("test", env=env)
    project.auditor().assert_commits_kept(before)
    tree.rename(project.base / "moved")
    done = project.run("remove", "test-unit-tree", check=False)
    assert f"submodule vendor/lib (not checked out): commit {made[:10]}" in done.stderr, said(done)
    project.auditor().assert_commits_kept(before)


def test_a_commit_in_a_clone_in_the_environment(grove):
    """`pip install -e git+URL` clones into `.venv/src`. The environment is a folder like one: nothing is installed."""
    origin: Grove = grove(name="origin")
    project = origin.sibling("project", files={"README.md": "x\n"})
    for name in ("a", "b"):
        project.create("test-unit", name)
        environment = project.root / f"test-unit-{name}/.venv"
        (environment / "src").mkdir(parents=True)
        (environment / "pyvenv.cfg").write_text("home = /usr/bin\n")
        git(environment, "clone", "--quiet", str(origin.repo), "src/origin")
    project.run("remove", "b")
    clone = project.root / "test-unit-a/.venv/src/origin"
    made = commit(clone, "a fix")
    (clone / "src/code.py").write_text("VALUE = 2\n")
    before = project.auditor().commits()
    assert made in before
    done = project.run("remove", "a", check=False)
    assert f".venv/src/origin/: commit {made[:10]} a fix (in no remote)" in done.stderr, said(done)
    assert ".venv/src/origin/: src/code.py (modified)" in done.stderr
    git(clone, "checkout", "--quiet", "src/code.py")
    git(clone, "push", "--quiet", "origin", "HEAD:refs/heads/fixed")
    project.run("remove", "a")
    project.auditor().assert_nothing()
