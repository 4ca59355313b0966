"""Hints of a creation that failed: its folder is gone by then."""

from __future__ import annotations

from pathlib import Path

import pytest

from testgrove.app.worktrees.operations import hint_without


@pytest.mark.parametrize(
    ("hint", "after"),
    [
        ("df -h /trees/a", "df -h /trees"),
        ("ls -ld /trees/a/.venv/bin/python", "ls -ld /trees"),
        ("findmnt -T /trees/a", "findmnt -T /trees"),
        ("uv venv --clear /trees/a/.venv, then reinstall the project there", ""),
        ("cd /trees/a && git status", ""),
        ("testgrove cleanup --max-age 24", "testgrove cleanup --max-age 24"),
        ("less /artifacts/a/setup.log", "less /artifacts/a/setup.log"),
    ],
)
def test_a_hint_names_nothing_in_a_folder_that_was_undone(hint, after):
    assert hint_without(Path("/trees/a"), hint) == after
