"""A signal between a change and what tells of it: the view and the manifest follow all the same."""

from __future__ import annotations

import errno
import re
import signal

import pytest

from faults.sweeping import PROGRAM
from grove import Grove


def stopped(one: Grove, at: str, number: int, *words: str, error: int = 0) -> int:
    """Run a command that gets a signal at a step, or whose files fail from there on (see killing.py); its status."""
    log = one.base / "steps"
    log.unlink(missing_ok=True)
    variables = {
        "KILLING_LOG": str(log),
        "KILLING_AT": at,
        "KILLING_SIGNAL": str(int(number)),
        "KILLING_ERRNO": str(error),
    }
    return one.run(*words, program=PROGRAM, env=variables | {"KILLING_BASE": str(one.base)}, check=False).returncode


def test_the_registry_follows_a_removal_that_was_interrupted(grove):
    one = grove()
    one.create("test-unit", "x")
    one.create("test-unit", "y")
    assert stopped(one, "after forget", signal.SIGINT, "remove", "x") == 130
    assert set(one.registry()["worktrees"]) == {"test-unit-y"}
    one.run("remove", "y")
    one.auditor().assert_nothing()


def test_an_environment_file_that_was_just_written_is_not_the_users(grove):
    one = grove()
    one.create("test-unit", "x", "--ports", "--no-env")
    assert stopped(one, "", signal.SIGKILL, "ports", "reassign", "x") == 0
    renamed = re.search(r"effect:(\d+) before os.rename \S*env.test.tmp", (one.base / "steps").read_text())
    assert renamed is not None
    assert stopped(one, f"effect:{int(renamed[1]) + 1}", signal.SIGKILL, "ports", "reassign", "x") == -9
    one.run("sync", "x")
    one.run("remove", "x")
    one.auditor().assert_nothing()


@pytest.mark.parametrize("file", ["env.test", "testgrove-env.begun"])
def test_what_a_killed_write_has_left_goes_with_the_next_command(grove, file):
    one = grove()
    one.create("test-unit", "x", "--ports", "--no-env")
    assert stopped(one, "", signal.SIGKILL, "ports", "reassign", "x") == 0
    renamed = re.search(rf"effect:(\d+) before os.rename \S*{file}.tmp", (one.base / "steps").read_text())
    assert renamed is not None
    assert stopped(one, f"effect:{renamed[1]}", signal.SIGKILL, "ports", "reassign", "x") == -9
    one.run("list")
    one.auditor().assert_no_leftovers(within=2.0)


@pytest.mark.parametrize("words", [("ports", "reassign", "x"), ("ports", "release", "x")])
def test_what_a_write_that_failed_could_not_even_remove_goes_with_the_next_command(grove, words):
    """From the moment that a file's new content is there, every change of a file fails, its removal as well."""
    one = grove()
    one.create("test-unit", "x", "--ports", "--no-env")
    assert stopped(one, "", signal.SIGKILL, *words) == 0
    renamed = re.search(
        r"effect:(\d+) before os.rename \S*(env.test|testgrove-env.begun).tmp", (one.base / "steps").read_text()
    )
    assert renamed is not None
    one.run("remove", "x", "--force")
    one.create("test-unit", "x", "--ports", "--no-env")
    assert stopped(one, f"effect:{renamed[1]}", signal.SIGKILL, *words, error=errno.EIO) == 5
    assert list(one.repo.rglob(".*.tmp")) + list(one.root.rglob(".*.tmp"))
    one.run("list")
    one.auditor().assert_no_leftovers(within=2.0)
