"""Which projects have a version that comes from git."""

import pytest

from testgrove.core.environments.dynamic_version import build_system, comes_from_git

BUILD = "[build-system]\nrequires = {}\n"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("pyproject.toml", BUILD.format('["setuptools>=64", "setuptools_scm[toml]>=8"]')),
        ("pyproject.toml", BUILD.format('["hatchling", "hatch-vcs"]')),
        ("pyproject.toml", BUILD.format('["setuptools", "versioningit~=3.0"]')),
        ("pyproject.toml", BUILD.format('["poetry-core", "poetry-dynamic-versioning>=1,<2"]')),
        ("pyproject.toml", BUILD.format('["pdm-backend"]') + '[tool.pdm.version]\nsource = "scm"\n'),
        (
            "pyproject.toml",
            '[tool.uv]\ncache-keys = [{file = "pyproject.toml"}, {git = {commit = true, tags = true}}]\n',
        ),
        ("setup.py", "from setuptools import setup\nsetup(use_scm_version=True)\n"),
        ("setup.cfg", "[options]\nsetup_requires =\n  setuptools_scm\n"),
        ("setup.py", "import versioneer\n"),
    ],
)
@pytest.mark.parametrize("folder", [".", "packages/one"])
def test_a_version_that_comes_from_git_is_seen_as_one(name, text, folder):
    prefix = "" if folder == "." else f"{folder}/"
    assert comes_from_git({f"{prefix}{name}": text.encode()}, folder)
    assert not comes_from_git({f"elsewhere/{name}": text.encode()}, folder)


@pytest.mark.parametrize(
    "text",
    [
        BUILD.format('["hatchling"]') + '[project]\nversion = "1"\n',
        BUILD.format('["setuptools"]') + '[project]\ndynamic = ["version"]\n',
        BUILD.format('["pdm-backend"]') + '[tool.pdm.version]\nsource = "file"\n',
        '[tool.uv]\ncache-keys = [{file = "pyproject.toml"}]\n',
        "",
    ],
)
def test_any_other_version_is_not(text):
    assert not comes_from_git({"pyproject.toml": text.encode()}, ".")


def test_a_project_without_a_build_system_has_the_standards():
    assert build_system(b"")["backend"] == "setuptools.build_meta:__legacy__"
    table = b'[build-system]\nrequires = []\nbuild-backend = "own"\nbackend-path = ["tools"]\n'
    assert build_system(table) == {"requires": [], "backend": "own", "path": ["tools"]}
