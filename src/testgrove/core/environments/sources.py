"""Which files of a tree decide about its environment."""

from __future__ import annotations

import posixpath
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from testgrove.core.environments.declared import read_toml
from testgrove.core.environments.locks import LOCKS
from testgrove.core.environments.nox import read_nox
from testgrove.core.environments.requirement_files import FOLDERS, base_files, mentioned_in, requirement_files
from testgrove.core.environments.tox import read_tox
from testgrove.core.environments.workflows import is_workflow, read_workflows
from testgrove.core.lazy_pattern import lazy_pattern

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

SEARCHED = (*FOLDERS, ".github/workflows")  # the folders whose files count, beside those at the top
_DECLARING = ("pyproject.toml", "setup.cfg", "setup.py", "uv.toml", "Pipfile", *LOCKS)
# They tell what is meant; what is installed then says it all.
_TELLING = ("tox.ini", "tox.toml", "noxfile.py", "hatch.toml", "environment.yml", "environment.yaml")
_LOCKED_HERE = lazy_pattern(rb'\nsource = \{ (?:editable|directory) = "([^"]*)" \}')


def sources(names: Iterable[str]) -> tuple[str, ...]:
    """Return which of a tree's files (those at its root and in SEARCHED) decide about its environment."""
    found = set(names)
    first = [name for name in (*_DECLARING, *_TELLING) if name in found]
    last = sorted(filter(is_workflow, found))
    return tuple(dict.fromkeys((*first, *base_files(found), *requirement_files(found), *last)))


def is_telling(path: str) -> bool:
    """Return whether a file only helps to choose: two plans that chose the same make the same environment without
    it."""
    return path in _TELLING or is_workflow(path)


def mentioned(path: str, content: bytes) -> tuple[str, ...]:
    """Further files, relative to the tree, that decide because this one refers to them."""
    if path.endswith((".txt", ".in")):
        return mentioned_in(path, content)
    if path == "uv.lock":
        folders = [folder for _, folder in locked_here(content) if folder != "."]
        return tuple(f"{folder}/{name}" for folder in folders for name in _DECLARING[:3])
    if is_workflow(path):
        return _in_the_tree(sorted(read_workflows({path: content}).files))
    if path in ("tox.ini", "tox.toml", "setup.cfg"):
        return _in_the_tree(name for one in read_tox({path: content}) for name in one.asked.files)
    if path == "noxfile.py":
        return _in_the_tree(name for one in read_nox(content) for name in one.asked.files)
    return _mentioned_in_pyproject(content) if path == "pyproject.toml" else ()


def _mentioned_in_pyproject(content: bytes) -> tuple[str, ...]:
    tool = read_toml("pyproject.toml", content).get("tool", {})
    dynamic = tool.get("setuptools", {}).get("dynamic", {})
    version = tool.get("hatch", {}).get("version", {}).get("path")
    of_tox = [name for one in read_tox({"pyproject.toml": content}) for name in one.asked.files]
    return _in_the_tree([*_files_in(dynamic), *filter(None, [version]), *of_tox])


def _files_in(table: Mapping[str, Any]) -> list[str]:
    """All that is named by a key ``file`` in nested tables."""
    found: list[str] = []
    for key, value in table.items():
        if isinstance(value, dict):
            found += _files_in(value)
        elif key == "file":
            found += [value] if isinstance(value, str) else map(str, value)
    return found


def _in_the_tree(names: Iterable[str]) -> tuple[str, ...]:
    """Those that are paths in the tree."""
    paths = [PurePosixPath(name) for name in names if "://" not in name]
    return tuple(str(path) for path in paths if not path.is_absolute() and ".." not in path.parts)


def local_folders(files: Mapping[str, bytes], workspace: str = ".") -> tuple[str, ...]:
    """The folders of the local distributions, relative to the tree; ``.`` is the tree itself.

    workspace: the way from it to the root of its uv workspace.
    """
    locked = (folder for _, folder in locked_here(files.get("uv.lock", b"")))
    return tuple(dict.fromkeys([".", *(posixpath.normpath(f"{workspace}/{folder}") for folder in locked)]))


def locked_here(lock: bytes) -> list[tuple[str, str]]:
    """Names and folders of the distributions that a lock takes from the tree. Faster than parsing all of it."""
    found = []
    for match in _LOCKED_HERE.finditer(lock):
        start = lock.rfind(b'\nname = "', 0, match.start()) + len(b'\nname = "')
        found.append((lock[start : lock.index(b'"', start)].decode(), match[1].decode() or "."))
    return found
