"""Dependencies by path that lead out of the repository."""

from __future__ import annotations

import pytest

from testgrove.core.environments.outside import outside


@pytest.mark.parametrize(
    ("file", "text", "home", "wanted"),
    [
        ("pyproject.toml", '[tool.uv.sources]\na = { path = "../lib" }\nb = { path = "libs/b" }\n', "", ["../lib"]),
        ("pyproject.toml", '[tool.uv.sources]\na = [{ path = "../../lib" }, { git = "x" }]\n', "backend", ["../lib"]),
        ("pyproject.toml", '[tool.uv.sources]\na = { path = "../lib" }\n', "backend", []),
        ("pyproject.toml", '[tool.poetry.dependencies]\npython = "3"\na = { path = "../lib" }\n', "", ["../lib"]),
        ("pyproject.toml", '[tool.poetry.group.dev.dependencies]\na = { path = "../../a" }\n', "", ["../../a"]),
        ("requirements.txt", "six\n-e ../lib[x]  # ours\n../b\n./c\n", "", ["../b", "../lib"]),
        ("requirements/test.txt", "-e ../lib\n-e ../../b\n", "", ["../b"]),
        ("uv.lock", '\nsource = { editable = "../lib" }\nsource = { editable = "a" }\n', "", ["../lib"]),
    ],
)
def test_what_leads_outside(file, text, home, wanted):
    found = outside({file: text.encode()}, home, ".")
    assert sorted(found) == wanted
    assert set(found.values()) <= {f"{home}/{file}".lstrip("/")}


def test_the_paths_of_a_workspaces_lock_begin_at_its_root():
    lock = b'\nsource = { editable = "../lib" }\nsource = { editable = "packages/b" }\n'
    assert list(outside({"uv.lock": lock}, "packages/a", "../..")) == ["../lib"]
