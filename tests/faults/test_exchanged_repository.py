"""Recovery runs nothing where another user has put something in the place of a repository or a worktree."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from faults.tricky import kill
from grove import Grove
from second_user import two_users

CONFIG = """
setup = ["touch {base}/started && sleep 60"]
teardown = ["touch {base}/torn-down"]
"""


@pytest.fixture
def killed(grove) -> Grove:
    """A project whose `create` was killed in its set-up; the teardown has not run."""
    project: Grove = grove()
    project.write({"testgrove.toml": CONFIG.format(base=project.base) + (project.repo / "testgrove.toml").read_text()})
    project.git("commit", "--all", "--quiet", "--message", "Commands")
    words = ("create", "--purpose", "review", "--identifier", "a", "--branch", "main", "--no-env")
    run = project.start(*words)
    deadline = time.monotonic() + 60
    while not (project.base / "started").exists():
        assert run.poll() is None, run.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    kill(run)
    return project


def give(path: Path, user: int) -> None:
    for each in (path, *path.rglob("*")):
        os.lchown(each, user, user)


@pytest.mark.parametrize("what", ["repository", "worktree"])
def test_nothing_runs_until_it_is_ours_again(killed: Grove, what: str) -> None:
    _, attacker = two_users()
    exchanged = killed.repo / ".git" if what == "repository" else killed.root / "review-a"
    give(exchanged, attacker)
    other = killed.sibling("other")
    other.run("list")
    assert not (killed.base / "torn-down").exists()
    give(exchanged, 0)
    killed.run("remove", "review-a", "--force")
    assert (killed.base / "torn-down").exists()
    killed.auditor().assert_nothing()
