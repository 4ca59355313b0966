"""Whether a project's version comes from git: its files in, an answer out. Nothing is run."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from testgrove.core.environments.declared import normal, read_toml
from testgrove.core.lazy_pattern import lazy_pattern

if TYPE_CHECKING:
    from collections.abc import Mapping

# Build requirements that compute a version from commits and tags.
_TOOLS = frozenset({
    "dunamai", "flit-scm", "hatch-vcs", "pbr", "poetry-dynamic-versioning", "setuptools-git-versioning",
    "setuptools-scm", "uv-dynamic-versioning", "vcs-versioning", "versioneer", "versioningit",
})  # fmt: skip
_IN_SETUP = lazy_pattern(rb"use_scm_version|setuptools[-_]scm|setuptools[-_]git[-_]versioning|versioneer|\bpbr\b")
_DEFAULT_REQUIRES = ["setuptools>=40.8"]
_DEFAULT_BACKEND = "setuptools.build_meta:__legacy__"


def comes_from_git(files: Mapping[str, bytes], folder: str) -> bool:
    """Return whether the version of the project in a folder of the tree (``.``: at its top) depends on commits or
    tags."""
    prefix = "" if folder == "." else f"{folder}/"
    setup = files.get(f"{prefix}setup.py", b"") + files.get(f"{prefix}setup.cfg", b"")
    tables = read_toml(f"{prefix}pyproject.toml", files.get(f"{prefix}pyproject.toml", b""))
    tool = tables.get("tool", {})
    requires = tables.get("build-system", {}).get("requires", ())
    return (
        not _TOOLS.isdisjoint(normal(re.split(r"[^A-Za-z0-9._-]", str(each).strip())[0]) for each in requires)
        or tool.get("pdm", {}).get("version", {}).get("source") == "scm"
        or any(isinstance(key, dict) and "git" in key for key in tool.get("uv", {}).get("cache-keys", ()))
        or _IN_SETUP.search(setup) is not None
    )


def build_system(pyproject: bytes) -> dict[str, Any]:
    """The ``[build-system]`` table of a pyproject.toml, with the defaults of the standard where it lacks something."""
    table = read_toml("pyproject.toml", pyproject).get("build-system", {})
    return {
        "requires": [str(each) for each in table.get("requires", _DEFAULT_REQUIRES)],
        "backend": str(table.get("build-backend", _DEFAULT_BACKEND)),
        "path": [str(each) for each in table.get("backend-path", ())],
    }
