"""Which project of a checkout an environment is made for."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Collection, Iterable
from pathlib import PurePosixPath
from typing import Any

from testgrove.core.environments.declared import parse_toml, read_declared
from testgrove.core.environments.uv_lock import brings_pytest
from testgrove.core.folders import ancestors
from testgrove.core.frozen import frozen

Read = Callable[[str], bytes]


@frozen
class Home:
    """folder: of the project, relative to the tree. to_workspace: the way from it to the root of the uv workspace whose
    lock counts; ``.`` for a project with its own."""

    folder: str = ""
    to_workspace: str = "."


WHOLE = Home()


def find_home(project: str, read: Read) -> Home:
    """Return what is installed for a project. project: its folder. read: returns a file of the tree, empty where none
    is.

    A member of a uv workspace with a lock is installed alone where its own dependencies contain pytest; otherwise the
    root's groups are for its tests, and the whole workspace is installed.
    """
    root = next((each for each in _above(project) if _is_member(project, each, read)), None)
    if root is None or not read(posixpath.join(root, "uv.lock")):
        return Home(project)
    declared = read_declared({"pyproject.toml": read(posixpath.join(project, "pyproject.toml"))})
    if not brings_pytest(declared):
        return Home(root)
    return Home(project, posixpath.relpath(root or ".", project))


def _above(folder: str) -> Iterable[str]:
    return (each for each in ancestors(folder) if each != folder)


def _is_member(folder: str, root: str, read: Read) -> bool:
    members, exclude = workspace_members(read(posixpath.join(root, "pyproject.toml")))
    inside = folder[len(root) :].lstrip("/")
    return is_member(inside, members, exclude)


def workspace_members(pyproject: bytes) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The patterns of a uv workspace's members, and of what is excluded. pyproject: the content of its root's file."""
    try:
        table: Any = parse_toml(pyproject).get("tool", {}).get("uv", {}).get("workspace", {})
    except ValueError:  # reading it as a declaration says so
        table = {}
    members, exclude = (tuple(map(str, table.get(key, ()))) for key in ("members", "exclude"))
    return members, exclude


def is_member(folder: str, members: Collection[str], exclude: Collection[str]) -> bool:
    """Return whether a folder, relative to a workspace's root, is one of its members."""
    return _matches(folder, members) and not _matches(folder, exclude)


def _matches(folder: str, patterns: Collection[str]) -> bool:
    return any(PurePosixPath("/", folder).match(f"/{pattern.strip('/').removeprefix('./')}") for pattern in patterns)
