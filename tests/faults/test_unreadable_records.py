"""A record of git's that cannot be read just now is not taken for one that is missing."""

from __future__ import annotations

import pytest

import needs
from auditor import git
from grove import TESTGROVE, said


@pytest.mark.parametrize("file", ["{record}/gitdir", "{tree}/.git"])
def test_a_worktree_whose_record_cannot_be_read_keeps_its_commits(grove, file):
    one = grove()
    one.create("test-unit", "x")
    tree = one.root / "test-unit-x"
    git(tree, "commit", "--quiet", "--allow-empty", "--message", "only here")
    before = one.auditor().commits()
    closed = one.base / file.format(record=one.repo / ".git/worktrees/test-unit-x", tree=tree)
    closed.chmod(0)
    done = one.run("remove", "x", program=(*needs.ordinary_user(), *TESTGROVE), check=False)
    closed.chmod(0o644)
    assert done.returncode == 3, said(done)
    assert str(closed) in done.stderr
    one.auditor().assert_commits_kept(before)
    assert "only here" in git(tree, "log", "--format=%s")
