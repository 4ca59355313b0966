"""Checkouts with settings of their own (`extensions.worktreeConfig`): new and recycled worktrees take them over."""

from __future__ import annotations

import shutil
from pathlib import Path

from auditor import git
from grove import Grove

FILES = {"README.md": "A project.\n", "src/code.py": "", "docs/a.md": "", "more/b.md": ""}


def in_bare_layout(project: Grove) -> Grove:
    """The same project with its repository in `.bare`, and its checkout a linked one with settings of its own."""
    bare = project.repo.parent / ".bare"
    shutil.move(project.repo / ".git", bare)
    shutil.rmtree(project.repo)
    git(bare, "config", "core.bare", "true")
    git(bare, "config", "extensions.worktreeConfig", "true")
    git(bare, "worktree", "add", "--quiet", str(project.repo), "main")
    return project


def test_a_shared_core_bare_does_not_make_worktrees_bare(grove):
    project = in_bare_layout(grove(files=FILES))
    git(project.repo, "config", "--worktree", "core.bare", "false")
    project.create("review", "a")
    tree = project.root / "review-a"
    assert git(tree, "config", "core.bare").strip() == "false"
    assert (tree / "src/code.py").exists()
    assert git(tree, "status", "--porcelain") == ""
    project.run("remove", "review-a")
    assert git(project.repo, "config", "core.bare").strip() == "false", "the user's own settings stay"


def test_a_worktree_is_as_sparse_as_the_checkout_it_is_made_from(grove):
    project = grove(files=FILES, config='[suites.unit]\ncommand = "ls -d docs more || true"\n')
    linked = project.base / "linked"
    project.git("worktree", "add", "--quiet", "--detach", str(linked))
    git(linked, "sparse-checkout", "set", "docs")
    project.run("test", cwd=linked)
    tree = Path(project.worktrees()["test-unit-tree"]["path"])
    assert (tree / "docs/a.md").exists()
    assert not (tree / "more").exists()
    git(linked, "sparse-checkout", "set", "more")
    project.run("test", cwd=linked)
    assert (tree / "more/b.md").exists(), "a recycled one follows"
    assert not (tree / "docs").exists()
    project.run("test")
    assert (tree / "docs/a.md").exists()
    assert (tree / "more/b.md").exists()
