"""What cannot be read does not count as missing: a check that knows less of a project would let more pass."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from testgrove.app.worktrees import nested_root
from testgrove.errors import UnavailableError
from testgrove.system.preflight import names, probe

FAILING = "/proc/self/mem"  # opens, and fails with EIO where its start is read


@pytest.mark.parametrize("name", ["pyproject.toml", "pytest.ini"])
def test_a_configuration_file(tmp_path: Path, name: str) -> None:
    (tmp_path / name).symlink_to(FAILING)
    with pytest.raises(UnavailableError, match=f"cannot read {tmp_path}/{name}: input/output error"):
        names.import_folders(tmp_path)
    with pytest.raises(UnavailableError, match="input/output error"):
        nested_root.texts(tmp_path, (name,))


def test_a_folder_in_the_place_of_a_file_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").mkdir()
    assert names.read_toml(tmp_path / "pyproject.toml") == {}
    assert names.read_toml(tmp_path / "pyproject.toml" / "pytest.toml") == {}


def test_the_folder_of_the_projects_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Patched: no folder whose listing fails with EIO can be had here."""

    def scandir(_path: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(names.os, "scandir", scandir)
    with pytest.raises(UnavailableError, match="cannot look for packages in"):
        names.top_level_names(tmp_path)


def test_what_an_installation_says_of_itself(tmp_path: Path) -> None:
    (tmp_path / "x-1.dist-info").mkdir()
    argv = [sys.executable, probe.__file__, "0"]
    env = os.environ | {"PYTHONPATH": str(tmp_path)}
    assert subprocess.run(argv, env=env, capture_output=True, check=False).returncode == 0
    (tmp_path / "x-1.dist-info" / "direct_url.json").symlink_to(FAILING)
    done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "Input/output error" in done.stderr
