"""A merge does not overwrite untracked files, where git itself would overwrite those that it ignores."""

from __future__ import annotations

from pathlib import Path

import pytest

from auditor import git
from testgrove.errors import PreconditionError
from testgrove.system.git import merge


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A repository with the branches main and other, on main."""
    tree = tmp_path / "repository"
    tree.mkdir()
    git(tree, "init", "--quiet", "--initial-branch", "main")
    for key, value in (("user.name", "A Tester"), ("user.email", "tester@example.invalid")):
        git(tree, "config", key, value)
    for name, text in ((".gitignore", "*.local\n"), ("settings.local", "shared\n"), ("keep", "x\n")):
        commit(tree, name, text)
    git(tree, "branch", "other")
    return tree


def commit(tree: Path, name: str, text: str) -> None:
    (tree / name).write_text(text)
    git(tree, "add", "--force", name)
    git(tree, "commit", "--quiet", "--message", "a commit")


def commit_on_other(tree: Path, name: str) -> str:
    git(tree, "switch", "--quiet", "other")
    commit(tree, name, "changed\n")
    made = git(tree, "rev-parse", "HEAD").strip()
    git(tree, "switch", "--quiet", "main")
    return made


def no_longer_tracked(tree: Path) -> None:
    git(tree, "rm", "--quiet", "--cached", "settings.local")
    git(tree, "commit", "--quiet", "--message", "not shared")
    (tree / "settings.local").write_text("mine\n")


def test_a_file_that_head_no_longer_tracks_and_the_commit_has_changed(tree):
    newer = commit_on_other(tree, "settings.local")
    no_longer_tracked(tree)
    with pytest.raises(PreconditionError) as caught:
        merge(tree, newer, "other")
    assert "settings.local is not tracked, and would be overwritten" in caught.value.message
    assert (tree / "settings.local").read_text() == "mine\n"


def test_a_file_that_head_no_longer_tracks_and_the_commit_has_not_changed_is_not_in_the_way(tree):
    newer = commit_on_other(tree, "keep")
    no_longer_tracked(tree)
    assert merge(tree, newer, "other")
    assert (tree / "settings.local").read_text() == "mine\n"
