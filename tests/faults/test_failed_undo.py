"""An undo that fails keeps its record, says why, and can be tried again; it stands in nobody's way."""

from __future__ import annotations

import pytest

from faults.sweeping import PROGRAM
from grove import Grove

CREATE = ("create", "--purpose", "test-unit", "--identifier", "x", "--branch", "main", "--ports", "--no-env")


@pytest.fixture
def one(grove):
    """A project whose worktrees cannot be moved to the trash: a file stands in its place."""
    one = grove()
    one.create("test-unit", "before")
    (one.root / ".trash").touch()
    return one


def assert_kept_until_it_can_go(one: Grove, status: str, *words: str) -> None:
    """`list` says what is wrong; `remove` fails for as long as it is, and then succeeds."""
    there = one.worktrees()
    assert there["test-unit-x"]["status"] == status
    assert all(word in there["test-unit-x"]["note"] for word in ("trash", *words)), there["test-unit-x"]["note"]
    again = one.run("remove", "test-unit-x", check=False)
    assert again.returncode == 3
    assert "trash" in again.stderr
    one.create("test-unit", "another")
    (one.root / ".trash").unlink()
    one.run("cleanup", "--max-age", "0", "--yes")
    one.auditor().assert_nothing()


def test_a_remove_that_fails_can_be_tried_again(one):
    one.run(*CREATE)
    failed = one.run("remove", "test-unit-x", check=False)
    assert failed.returncode == 3
    assert_kept_until_it_can_go(one, "broken")


def test_a_create_whose_undo_fails_says_both(one):
    one.write({".gitattributes": "a.txt filter=broken\n", "a.txt": "a\n"}, commit="Not to be checked out")
    for key, value in (("smudge", "false"), ("required", "true")):
        one.git("config", f"filter.broken.{key}", value)
    failed = one.run(*CREATE, check=False)
    assert failed.returncode == 5
    assert "undoing it failed" in failed.stderr
    one.git("config", "filter.broken.required", "false")
    assert_kept_until_it_can_go(one, "broken", "undoing failed")


def test_a_recovery_that_fails_is_noted_and_other_commands_go_on(one):
    variables = {"KILLING_LOG": str(one.base / "steps"), "KILLING_AT": "after check out files"}
    killed = one.run(*CREATE, program=PROGRAM, env=variables | {"KILLING_BASE": str(one.base)}, check=False)
    assert killed.returncode == -9
    other = one.sibling("other")
    other.create("test-unit", "mine")
    other.run("remove", "test-unit-mine")
    assert_kept_until_it_can_go(one, "broken", "its command was killed")


def test_what_a_dead_command_left_of_a_deleted_repository_is_no_hindrance(grove):
    one = grove()
    other = one.sibling("other")
    variables = {"KILLING_LOG": str(one.base / "steps"), "KILLING_AT": "after check out files"}
    one.run(*CREATE, program=PROGRAM, env=variables | {"KILLING_BASE": str(one.base)}, check=False)
    one.git("rev-parse", "HEAD")
    one.repo.rename(one.base / "moved")
    other.create("test-unit", "mine")
    other.run("remove", "test-unit-mine")
    assert not (one.root / "test-unit-x").exists()


@pytest.mark.parametrize("gone", [False, True])
def test_a_checkout_of_another_repository_in_the_place_of_a_half_made_one_stays(grove, gone):
    """gone: the repository of the half made one was moved away; then the other checkout has files, too."""
    one = grove()
    other = one.sibling("other")
    variables = {"KILLING_LOG": str(one.base / "steps"), "KILLING_AT": "before spawn git worktree add"}
    one.run(*CREATE, program=PROGRAM, env=variables | {"KILLING_BASE": str(one.base)}, check=False)
    tree = one.root / "test-unit-x"
    other.git("worktree", "add", "--quiet", "--detach", *([] if gone else ["--no-checkout"]), str(tree))
    if gone:
        one.repo.rename(one.base / "moved")
    assert other.worktrees() == {}
    assert (tree / ".git").is_file()
    assert (tree / "README.md").exists() == gone
    assert other.git("-C", str(tree), "rev-parse", "HEAD") == other.git("rev-parse", "HEAD")
