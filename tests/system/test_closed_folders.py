"""What git passes over with a warning is found all the same."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import needs
from auditor import git
from grove import TESTGROVE, said
from testgrove.system import git as system_git
from testgrove.system.closed_folders import closed_folders


def deep_tree(top: Path) -> None:
    """A file whose path is longer than a path can be."""
    folder = os.open(top, os.O_RDONLY)
    for _ in range(45):
        os.mkdir("d" * 100, dir_fd=folder)
        inner = os.open("d" * 100, os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = inner
    os.close(os.open("precious", os.O_WRONLY | os.O_CREAT, dir_fd=folder))
    os.close(folder)


def test_a_tree_that_is_too_deep_for_git_is_untracked(tmp_path):
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "-c", "user.name=a", "-c", "user.email=a", "commit", "--quiet", "--allow-empty", "--message", "a")
    (tmp_path / "shallow/folder").mkdir(parents=True)
    assert closed_folders(tmp_path) == []
    deep_tree(tmp_path)
    assert closed_folders(tmp_path) == ["d" * 100]
    assert "d" * 100 in system_git.status(tmp_path).untracked
    shutil.rmtree(tmp_path / ("d" * 100))


def test_a_folder_that_may_not_be_read_is_not_removed(grove):
    one = grove()
    one.create("test-unit", "x")
    closed = one.root / "test-unit-x/closed"
    closed.mkdir()
    (closed / "precious.txt").write_text("mine\n")
    closed.chmod(0)
    done = one.run("remove", "x", program=(*needs.ordinary_user(), *TESTGROVE), check=False)
    assert done.returncode == 3, said(done)
    assert "closed (not written by set-up or a test)" in done.stderr
    closed.chmod(0o700)
    assert (closed / "precious.txt").read_text() == "mine\n"
