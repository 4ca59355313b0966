"""What cannot be deleted, looked for while others delete."""

from __future__ import annotations

import os
import shutil
from contextlib import nullcontext
from pathlib import Path

import pytest

from testgrove.system import undeletable


@pytest.mark.parametrize("when", ["listed", "not-readable"])
def test_a_folder_that_another_command_deletes_at_that_moment_is_no_error(tmp_path: Path, monkeypatch, when) -> None:
    # The moment between two calls cannot be had by waiting: the deletion is made there.
    tree = tmp_path / "tree"
    (tree / "src").mkdir(parents=True)

    def deleting(path):
        monkeypatch.undo()
        with os.scandir(path) as entries:
            found = list(entries)
        shutil.rmtree(tree)
        if when == "not-readable":
            raise PermissionError(13, "Permission denied", path)
        return nullcontext(found)

    monkeypatch.setattr(os, "scandir", deleting)
    undeletable.require_deletable(tree, "worktree x cannot be removed")
