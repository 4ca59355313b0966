"""What only a worktree's submodules and clones have: their repositories go with the worktree."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from auditor import git
from grove import Grove, said
from testgrove.errors import PreconditionError
from testgrove.system.git import merge

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


def two_versions(grove) -> tuple[Grove, Grove, dict[str, str]]:
    """A project with a submodule `lib`, and the submodule: its second commit brings `new.py` and an ignored file."""
    project: Grove = grove(files={"README.md": "x\n", ".gitignore": "*.local\n"}, config='setup = ["echo x >> made"]\n')
    library = project.sibling("library", files={"lib.py": "VALUE = 1\n", ".gitignore": "build/\n"})
    (project.base / "gitconfig").write_text('[protocol "file"]\n\tallow = always\n')
    project.git(*ALLOW, "submodule", "add", "--quiet", f"file://{library.repo}", "lib")
    project.git("commit", "--quiet", "--message", "a submodule")
    return project, library, {"GIT_CONFIG_GLOBAL": str(project.base / "gitconfig")}


def newer(project: Grove, library: Grove) -> None:
    library.write({"lib.py": "VALUE = 2\n", "new.py": "NEW = 1\n"})
    (library.repo / "build").mkdir()
    (library.repo / "build/out").write_text("theirs\n")
    library.git("add", "--force", "new.py", "lib.py", "build/out")
    library.git("commit", "--quiet", "--message", "two")
    git(project.repo / "lib", *ALLOW, "pull", "--quiet")
    project.git("commit", "--quiet", "--all", "--message", "a newer submodule")


def test_a_sync_overwrites_no_file_that_a_submodule_does_not_track(grove):
    project, library, env = two_versions(grove)
    project.create("review", "a", "--no-env", env=env)
    tree = project.root / "review-a"
    newer(project, library)
    for name in ("new.py", "build/out"):
        file = tree / "lib" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text("mine\n")
        done = project.run("sync", "a", check=False, env=env)
        assert done.returncode == 3, said(done)
        assert file.read_text() == "mine\n"
        assert f"lib/{name} is not tracked, and would be overwritten" in done.stderr
        (command,) = [line.partition("hint: ")[2] for line in done.stderr.splitlines() if "hint: " in line]
        subprocess.run(command.partition("   then")[0], shell=True, check=True)
        assert not file.exists()
    (tree / "lib/notes.txt").write_text("mine\n")
    project.run("sync", "a", env=env)
    assert (tree / "lib/lib.py").read_text() == "VALUE = 2\n"
    assert (tree / "lib/notes.txt").read_text() == (tree / "lib/new.py.mine").read_text() == "mine\n"


def test_a_sync_overwrites_no_ignored_file(grove):
    project: Grove = grove(files={"README.md": "x\n", ".gitignore": "*.local\n"})
    project.create("review", "a", "--no-env")
    tree = project.root / "review-a"
    (tree / "mine.local").write_text("mine\n")
    (project.repo / "mine.local").write_text("theirs\n")
    project.git("add", "--force", "mine.local")
    project.git("commit", "--quiet", "--message", "an ignored file")
    done = project.run("sync", "a", check=False)
    assert done.returncode == 3
    assert "mine.local is not tracked, and would be overwritten" in done.stderr, said(done)
    assert (tree / "mine.local").read_text() == "mine\n"


def test_a_file_in_the_way_of_a_merge_is_kept(grove):
    project: Grove = grove(files={"README.md": "x\n", ".gitignore": "*.local\n", "folder/a": "x\n"})
    tree = project.base / "theirs"
    project.git("worktree", "add", "--quiet", "-b", "topic", str(tree))
    commit(tree, "a commit of its own")
    for name in ("mine.local", "deep/er.local", "folder"):
        if name == "folder":
            project.git("rm", "--quiet", "-r", "folder")
        (project.repo / name).parent.mkdir(exist_ok=True)
        (project.repo / name).write_text("theirs\n")
        project.git("add", "--force", name)
        project.git("commit", "--quiet", "--message", name)
        mine = {"mine.local": "mine.local", "deep/er.local": "deep", "folder": "folder/x.local"}[name]
        (tree / mine).write_text("mine\n")
        with pytest.raises(PreconditionError) as caught:
            merge(tree, project.git("rev-parse", "main").strip(), "main")
        assert f"{mine} is not tracked, and would be overwritten" in caught.value.message
        assert (tree / mine).read_text() == "mine\n"
        (tree / mine).unlink()
    assert merge(tree, project.git("rev-parse", "main").strip(), "main")
    assert (tree / "folder").is_file()


def test_scenarios_run_with_the_submodules_of_their_commit(grove):
    project, library, env = two_versions(grove)
    tests = [("a", "ours", {"ref": "main"}), ("b", "theirs", {})]
    scenarios = [{"name": name, "worktree": tree, "command": "cat lib/lib.py", **more} for name, tree, more in tests]
    project.write({"s.json": json.dumps({"scenarios": scenarios})}, commit="scenarios")
    ours, theirs = (project.root / name for name in ("ours", "theirs"))
    for name in ("ours", "theirs"):
        project.run("coordinate", "s.json", "--setup-worktrees", "--filter-worktree", name, env=env)
    assert (ours / "made").read_text() == "x\n"
    newer(project, library)
    (ours / "lib/new.py").write_text("mine\n")
    done = project.run("coordinate", "s.json", "--setup-worktrees", "--filter-worktree", "ours", check=False, env=env)
    assert "lib/new.py is not tracked, and would be overwritten" in said(done)
    (ours / "lib/new.py").unlink()
    project.run("coordinate", "s.json", "--setup-worktrees", "--filter-worktree", "ours", env=env)
    assert (ours / "lib/lib.py").read_text() == "VALUE = 2\n"
    assert (ours / "made").read_text() == "x\nx\n", "set-up ran again"
    project.run("coordinate", "s.json", "--pull-from", "main", "--filter-worktree", "theirs", env=env)
    assert (theirs / "lib/lib.py").read_text() == "VALUE = 2\n"
    assert git(theirs, "status", "--porcelain", "--untracked-files=no") == ""
