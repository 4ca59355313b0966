"""An environment in use that has no Python: what the hint would delete."""

from __future__ import annotations

import pytest

from testgrove.app.worktrees import found_environment
from testgrove.errors import PreconditionError


def hint(prefix, variable=""):
    with pytest.raises(PreconditionError) as error:
        found_environment._ask(prefix / "bin" / "python", variable)
    return error.value.hint


def test_only_an_environment_is_cleared(tmp_path, monkeypatch):
    monkeypatch.setattr(found_environment, "uv_as_typed", lambda: "uv")
    there = tmp_path / "some where"
    assert hint(there, "VIRTUAL_ENV") == f"uv venv '{there}'   or leave that environment: unset VIRTUAL_ENV"
    there.mkdir()
    assert hint(there, "CONDA_PREFIX") == "unset CONDA_PREFIX"
    assert hint(there) == f"mv '{there}' '{there}'.old && uv venv '{there}'"
    (there / "pyvenv.cfg").touch()
    assert hint(there) == f"uv venv --clear '{there}'"
