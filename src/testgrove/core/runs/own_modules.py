"""Modules of a project's own that its tests cannot import, and where they are."""

from __future__ import annotations

from collections.abc import Collection

_USUAL = ("src", ".", "lib", "python")  # the first one counts


def folder_with(module: str, files: Collection[str]) -> str:
    """The folder that must be on the import path for a module of the project; empty where it has no such module.

    Outside of the usual folders, one that is itself a package does not count: ``shop/redis.py`` is no module `redis`.
    """
    found = {_parent(path) for path in files if path.rpartition("/")[2] == f"{module}.py"}
    packages = {_parent(path) for path in files if path.rpartition("/")[2] == "__init__.py"}
    found |= {_parent(folder) for folder in packages if folder.rpartition("/")[2] == module}
    usual = [folder for folder in _USUAL if folder in found]
    return next(iter(usual or sorted(found - packages)), "")


def _parent(path: str) -> str:
    return path.rpartition("/")[0] or "."
