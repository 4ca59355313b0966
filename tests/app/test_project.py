"""Whose settings count for a folder of a checkout."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from testgrove.app.project import Project


def test_a_folder_below_a_sub_project_has_the_settings_of_that_project(tmp_path: Path):
    (tmp_path / "backend/api").mkdir(parents=True)
    (tmp_path / "backend/testgrove.toml").write_text('env_file = ".env.backend"\n')
    (tmp_path / "testgrove.toml").write_text('env_file = ".env.top"\n')
    some: Any = SimpleNamespace(toplevel=tmp_path)
    project = Project(some, some, some, some, some)
    found = {name: project.around(name).settings.env_file for name in ("", "backend", "backend/api", "gone", "docs/x")}
    assert found == {
        "": ".env.top", "backend": ".env.backend", "backend/api": ".env.backend", "gone": ".env.top",
        "docs/x": ".env.top",
    }  # fmt: skip
    assert project.around("backend/api") is project.around("backend")
