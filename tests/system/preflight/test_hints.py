"""An environment that is not the worktree's: what the command in the hint would delete."""

from __future__ import annotations

import pytest

from testgrove.errors import PreconditionError
from testgrove.system.preflight.check import _require_environment


def hint(tree):
    with pytest.raises(PreconditionError) as error:
        _require_environment(tree, tree / ".venv/bin/python")
    return error.value.hint.replace(str(tree), "").partition("uv venv ")


def test_an_environment_is_cleared_but_nothing_else(tmp_path):
    tree, other = tmp_path / "tree", tmp_path / "main" / ".venv"
    other.mkdir(parents=True)
    (other / "pyvenv.cfg").touch()
    tree.mkdir()
    assert hint(tree)[2] == "/.venv, then reinstall the project there"
    (tree / ".venv").symlink_to(other)  # --clear would empty the other one
    assert hint(tree)[0].startswith("rm /.venv && ")
    assert hint(tree)[2] == "/.venv, then reinstall the project there"
    (tree / ".venv").unlink()
    (tree / ".venv").mkdir()
    (tree / ".venv/pyvenv.cfg").touch()
    assert hint(tree)[2] == "--clear /.venv, then reinstall the project there"
