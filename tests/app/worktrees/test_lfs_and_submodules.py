"""LFS files, which are fetched only if asked, and submodules, which always come along."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from auditor import checkouts, git
from grove import Grove, said
from needs import missing

POINTER = "version https://git-lfs.github.com/spec/v1\n"
FILTERS = {
    "clean": "git-lfs clean -- %f", "smudge": "git-lfs smudge -- %f", "process": "git-lfs filter-process",
    "required": "true",
}  # fmt: skip


def env_of(project: Grove, text: str) -> dict[str, str]:
    """A user's git configuration."""
    path = project.base / "gitconfig"
    path.write_text(text)
    return {"GIT_CONFIG_GLOBAL": str(path)}


@pytest.fixture
def require_lfs() -> None:
    if not shutil.which("git-lfs"):
        missing("git-lfs", "git-lfs is not installed")


def with_lfs_file(grove, config: str) -> Grove:
    """A clone of a repository with an LFS file, as a user has it; nothing of the content is in the clone's store."""
    origin: Grove = grove()
    project: Grove = origin.sibling("clone", config=config)
    for each in (origin, project):
        for name, value in FILTERS.items():
            each.git("config", f"filter.lfs.{name}", value)
    origin.write({".gitattributes": "*.bin filter=lfs\n", "big.bin": "the content\n"}, commit="a large file")
    assert origin.git("show", "HEAD:big.bin").startswith(POINTER)
    project.git("remote", "add", "origin", f"file://{origin.repo}")
    project.git("fetch", "--quiet", "origin")
    return project


def test_pointers_stay_unless_asked(grove, require_lfs):
    project = with_lfs_file(grove, "")
    project.create("review", "a", branch="origin/main")
    tree = project.root / "review-a"
    assert (tree / "big.bin").read_text().startswith(POINTER)
    assert git(tree, "status", "--porcelain") == ""
    project.run("remove", "a")


def test_files_come_when_asked_and_are_no_change(grove, require_lfs):
    project = with_lfs_file(grove, "lfs = true\n")
    project.create("review", "a", branch="origin/main")
    tree = project.root / "review-a"
    assert (tree / "big.bin").read_text() == "the content\n"
    assert git(tree, "status", "--porcelain") == ""
    project.run("remove", "a")
    project.auditor().assert_nothing()


@pytest.mark.parametrize("there", [True, False])
def test_asked_for_and_not_to_be_had(grove, there):
    project: Grove = grove(config="lfs = true\n")
    tools = project.base / "tools"
    tools.mkdir()
    for name in ("git", "sh"):
        (tools / name).symlink_to(shutil.which(name) or "")
    if there:
        (tools / "git-lfs").write_text("#!/bin/sh\nexit 0\n")
        (tools / "git-lfs").chmod(0o755)
    exec_path = git(project.repo, "--exec-path").strip()
    if not there and Path(exec_path, "git-lfs").exists():
        pytest.skip("git-lfs is among git's own programs")
    env = env_of(project, "") | {"PATH": str(tools), "GIT_CONFIG_NOSYSTEM": "1"}
    done = project.create("review", "a", check=False, env=env)
    assert done.returncode == 3, said(done)
    assert ("the git-lfs filters are not configured" if there else "git-lfs was not found") in done.stderr
    assert "git lfs install" in done.stderr
    project.auditor().assert_nothing()


def submodule_project(grove) -> tuple[Grove, Grove, dict[str, str]]:
    project: Grove = grove(files={"README.md": "x\n", "tests/test_it.py": "from pathlib import Path\n"
        "def test_it():\n    assert Path('vendor/lib/lib.py').read_text() == 'VALUE = 2\\n'\n"})  # fmt: skip
    inner = project.sibling("inner", files={"inner.py": "DEEP = 1\n"})
    library = project.sibling("library", files={"lib.py": "VALUE = 2\n"})
    env = env_of(project, '[protocol "file"]\n\tallow = always\n')
    for outer, module, place in ((library, inner, "deep"), (project, library, "vendor/lib")):
        words = ("-c", "protocol.file.allow=always", "submodule", "add", "--quiet", f"file://{module.repo}", place)
        outer.git(*words)
        outer.git("commit", "--quiet", "--message", "a submodule")
    return project, library, env


@pytest.mark.slow
def test_submodules_at_any_depth_in_new_and_recycled_worktrees(grove):
    project, library, env = submodule_project(grove)
    project.run("test", env=env)
    tree = project.tree("test-tests-tree")
    assert (tree / "vendor/lib/deep/inner.py").read_text() == "DEEP = 1\n"
    library.write({"more.py": "MORE = 1\n"}, commit="more")
    git(project.repo / "vendor/lib", "-c", "protocol.file.allow=always", "pull", "--quiet")
    project.git("commit", "--quiet", "--all", "--message", "a newer submodule")
    project.run("test", env=env)
    assert list(project.worktrees()) == ["test-tests-tree"]
    assert (tree / "vendor/lib/more.py").exists()
    project.run("remove", "test-tests-tree", env=env)
    assert checkouts(project.repo) == []
    project.auditor().assert_nothing()


@pytest.mark.slow
def test_submodules_that_only_their_own_url_has(grove):
    """In a clone whose user has never initialised them."""
    project, _, env = submodule_project(grove)
    clone = project.base / "clone"
    git(project.base, "clone", "--quiet", str(project.repo), str(clone))
    project.run("create", "--purpose=review", "--identifier=a", "--branch=main", "--no-env", cwd=clone, env=env)
    tree = project.base / "clone-worktrees/review-a"
    assert (tree / "vendor/lib/deep/inner.py").read_text() == "DEEP = 1\n"
    (tree / "vendor/lib/deep/mine.txt").write_text("mine")
    done = project.run("remove", "a", cwd=clone, env=env, check=False)
    assert done.returncode == 3
    assert "vendor/lib/deep/mine.txt" in done.stderr
    (tree / "vendor/lib/deep/mine.txt").unlink()
    project.run("remove", "a", cwd=clone, env=env)
    assert not tree.exists()
