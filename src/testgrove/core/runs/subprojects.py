"""Sub-projects: the folders of a checkout that are projects of their own, with tests.

A folder is one when its files declare a project. From the top, these run as well:

1. those with settings of their own;
2. the members of a uv workspace that the top's pytest does not name in its ``testpaths``;
3. all others, where the top itself declares no project.

Folders that hold examples or test data by custom count only where they have settings, or where the user stands in them.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Collection, Mapping
from fnmatch import fnmatch
from typing import Any

from testgrove.core.environments.declared import parse_toml
from testgrove.core.environments.home import is_member, workspace_members
from testgrove.core.environments.locks import LOCKS
from testgrove.core.environments.requirement_files import base_files, requirement_files
from testgrove.core.folders import below_in_order
from testgrove.core.runs.plan import replace_command
from testgrove.core.runs.pytest_settings import READ, read_settings
from testgrove.core.settings.types import Suite

Read = Callable[[str], str]
_NOT_RUN = frozenset({
    "benchmarks", "data", "demo", "demos", "doc", "docs", "example", "examples", "fixtures", "node_modules", "sample",
    "samples", "template", "templates", "test", "testdata", "testing", "tests", "third_party", "vendor", "vendored",
})  # fmt: skip
_DECLARING = ("setup.py", "Pipfile", *LOCKS)
_READ = ("pyproject.toml", "setup.cfg")
_TESTS = ("test_*.py", "*_test.py", "tests.py")


def is_project(names: Collection[str], read: Read) -> bool:
    """Return whether a folder is a project: its files declare one, or there are settings for it.

    names: of its files, relative to it. read: returns the text of one.
    """
    return has_settings(names, read) or _declares(names, read)


def _declares(names: Collection[str], read: Read) -> bool:
    """A requirements file declares a project only beside tests: folders of documentation have one, too."""
    if any(name in names for name in _DECLARING):
        return True
    if "setup.cfg" in names and "[metadata]" in read("setup.cfg"):
        return True
    table = _toml(read("pyproject.toml")) if "pyproject.toml" in names else {}
    if any(key in table for key in ("project", "build-system", "dependency-groups")) or "poetry" in _tool(table):
        return True
    return bool(base_files(names) or requirement_files(names)) and has_tests(names)


def has_settings(names: Collection[str], read: Read) -> bool:
    """Return whether a folder has settings of testgrove's."""
    return "testgrove.toml" in names or (
        "pyproject.toml" in names and "testgrove" in _tool(_toml(read("pyproject.toml")))
    )


def has_tests(names: Collection[str]) -> bool:
    """Return whether files that are tests by custom are among these."""
    return any(fnmatch(name.rpartition("/")[2], pattern) for name in names for pattern in _TESTS)


def find_subprojects(files: Collection[str], read: Read) -> tuple[str, ...]:
    """The folders that run from the top, sorted. files: of the checkout. read: returns the text of one of them."""
    members = _members(files, read)
    every = not _declares(_top(files), read)
    found: list[str] = []
    ordered = sorted(files)
    for folder in sorted(_folders(files)):
        if any(folder.startswith(f"{one}/") for one in found):  # it is a part of that one
            continue
        inside, read_inside = below_in_order(folder, ordered), _reading(read, folder)
        usual = (folder in members or every) and _NOT_RUN.isdisjoint(folder.split("/")) and has_tests(inside)
        if has_settings(inside, read_inside) or (usual and (folder in members or _declares(inside, read_inside))):
            found.append(folder)
    return tuple(found)


def _members(files: Collection[str], read: Read) -> set[str]:
    if "pyproject.toml" not in files:
        return set()
    members, exclude = workspace_members(read("pyproject.toml").encode())
    if not members:
        return set()
    paths = read_settings({name: read(name) for name in READ if name in files}).testpaths
    named = tuple(path.rstrip("/").removeprefix("./") for path in paths)
    return {
        folder
        for folder in _folders(files)
        if is_member(folder, members, exclude) and not any(_covers(path, folder) for path in named)
    }


def _covers(path: str, folder: str) -> bool:
    """Return whether one of the top's testpaths is in a folder, or holds it."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    theirs = folder.split("/")
    return all(fnmatch(one, pattern) for one, pattern in zip(theirs, parts, strict=False))


def _folders(files: Collection[str]) -> set[str]:
    """The folders that could declare a project: those with a file that can."""
    names = {"testgrove.toml", *_DECLARING, *_READ}
    found = set()
    for path in files:
        folder, _, name = path.rpartition("/")
        if folder and (name in names or base_files([name]) or requirement_files([name])):
            found.add(folder)
    return {folder for folder in found if not any(part.startswith((".", "{")) for part in folder.split("/"))}


def _top(files: Collection[str]) -> list[str]:
    """The files by which the top may declare a project: what is in folders declares none, but for tests of its own."""
    return [path for path in files if "/" not in path or path.startswith(("tests/", "test/", "requirements/"))]


def _reading(read: Read, folder: str) -> Read:
    return lambda name: read(f"{folder}/{name}")


def _toml(text: str) -> Mapping[str, Any]:
    try:
        return parse_toml(text.encode())
    except ValueError:  # reading it as settings or as a declaration says so
        return {}


def _tool(table: Mapping[str, Any]) -> Mapping[str, Any]:
    tool = table.get("tool", {})
    return tool if isinstance(tool, dict) else {}


def without_subprojects(
    suites: Mapping[str, Suite], folders: Collection[str], texts: Mapping[str, str]
) -> dict[str, Suite]:
    """The suites that were found at the top, without the tests of sub-projects. texts: of the files in READ."""
    paths = read_settings(texts).testpaths
    found = [each for each in sorted(folders) if not paths or any(_covers(path, each) for path in paths)]
    ignored = "".join(f" --ignore={shlex.quote(each)}" for each in found)
    return {
        name: replace_command(suite, suite.command + ignored) if suite.command.startswith("pytest") else suite
        for name, suite in suites.items()
    }
