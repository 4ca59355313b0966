"""Which sub-project a folder is in."""

from __future__ import annotations

import tempfile
from pathlib import Path

import testgrove.core.runs.subprojects  # noqa: F401 - as another user, it may not be readable
from second_user import as_user, two_users
from testgrove.app.subprojects import directory_of


def test_a_closed_folder_in_a_project_is_no_obstacle():
    """Such as the data of a server in a container, which runs as another user."""
    user, _ = two_users()
    with tempfile.TemporaryDirectory() as name:
        top = Path(name)
        top.chmod(0o755)
        (top / "backend/data").mkdir(parents=True)
        (top / "backend/data").chmod(0o700)
        (top / "backend/setup.py").touch()
        assert as_user(user, directory_of, top, top / "backend") == "backend"
