"""A worktree that could be neither finished nor taken away is examined like any other before it goes.

Only a removal that was decided, by a command that has examined the worktree, is finished when that command dies.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from faults.sweeping import PROGRAM
from grove import Grove, said

CREATE = ("create", "--purpose", "test-unit", "--identifier", "x", "--branch", "main", "--ports", "--no-env")
REMOVE = ("remove", "test-unit-x")
NOTES = "what the user has written\n"


def kill(one: Grove, at: str, *command: str) -> int:
    """Run a command that dies at a step (see killing.py); its exit status."""
    variables = {"KILLING_LOG": str(one.base / "steps"), "KILLING_AT": at, "KILLING_BASE": str(one.base)}
    return one.run(*command, program=PROGRAM, env=variables, check=False).returncode


def leave_a_create_that_recovery_refuses(one: Grove) -> None:
    """The user was quick: the worktree of a killed `create` is locked, and there are notes in it."""
    assert kill(one, "after take manifest", *CREATE) == -9
    one.git("worktree", "unlock", str(one.root / "test-unit-x"))
    one.git("worktree", "lock", "--reason", "mine", str(one.root / "test-unit-x"))


def leave_a_create_whose_undo_failed(one: Grove) -> None:
    one.root.mkdir()
    (one.root / ".trash").touch()
    assert kill(one, "after check out files", *CREATE) == -9
    one.worktrees()
    (one.root / ".trash").unlink()


def leave_a_remove_that_failed(one: Grove) -> None:
    one.run(*CREATE)
    (one.root / ".trash").touch()
    assert one.run(*REMOVE, check=False).returncode == 3
    (one.root / ".trash").unlink()


def leave_one_of_an_older_command(one: Grove) -> None:
    """A command of an older version, which still runs, has given up."""
    one.run(*CREATE)
    with closing(sqlite3.connect(one.state / "state.db")) as store, store:
        assert store.execute("UPDATE worktrees SET status = 'removing'").rowcount == 1


@pytest.mark.parametrize(
    "leave",
    [
        leave_a_create_that_recovery_refuses,
        leave_a_create_whose_undo_failed,
        leave_a_remove_that_failed,
        leave_one_of_an_older_command,
    ],
    ids=lambda f: f.__name__,
)
def test_a_remove_that_is_killed_at_any_step_loses_nothing(grove, leave):
    one = grove()
    leave(one)
    assert set(one.worktrees()) == {"test-unit-x"}
    notes: Path = one.root / "test-unit-x/notes.txt"
    notes.write_text(NOTES)
    number = 1
    while (status := kill(one, f"effect:{number}", *REMOVE)) == -9:
        assert set(one.worktrees()) == {"test-unit-x"}, f"killed at step {number}"
        assert notes.read_text() == NOTES, f"killed at step {number}"
        number += 1
    assert number > 3
    assert status == 3, "it refuses"
    one.run("cleanup", "--max-age", "0", "--yes")
    one.run("doctor", "--fix", check=False)
    assert notes.read_text() == NOTES
    assert one.create("test-unit", "x", check=False).returncode == 3
    notes.unlink()
    if leave is leave_a_create_that_recovery_refuses:
        assert "git worktree unlock" in one.run(*REMOVE, check=False).stderr
        one.git("worktree", "unlock", str(one.root / "test-unit-x"))
    done = one.run(*REMOVE)
    assert not notes.parent.exists(), said(done)
    one.auditor().assert_nothing()
