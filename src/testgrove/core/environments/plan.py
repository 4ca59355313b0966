"""What an environment will hold, and what makes two of them the same: from file contents to a plan."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Literal

from testgrove.core.environments.declared import Declared, is_pytest, normal, read_declared, read_toml
from testgrove.core.environments.dependency_sets import OWN, DependencySet, Lowest, lowest
from testgrove.errors import PreconditionError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Kind = Literal["uv-lock", "requirements", "pyproject", "bare"]
Installation = Literal["editable", "dependencies", "none"]

TEST_NAMES = ("test", "tests", "testing", "dev")
_DECLARING = ("pyproject.toml", "setup.cfg", "setup.py", "uv.lock", "uv.toml")
_REQUIREMENTS = re.compile(
    r"requirements([-_.](tests?|testing|dev))?\.txt|(tests?|testing|dev)[-_.]requirements\.txt"
    r"|requirements/(.*[-_.])?(tests?|testing|dev|development)([-_.].*)?\.txt"
)
_INCLUDE = re.compile(r"^\s*(?:-r|-c|--requirement|--constraint)[\s=]*([^\s#]+)", re.MULTILINE)
_LOCAL_LINE = re.compile(r"^\s*(?:-e\s|--editable[\s=]|\.{1,2}(?:/|\[|\s|$)|file:|[^#\s]+\s*@\s*file:)", re.MULTILINE)
_LOCKED_HERE = re.compile(rb'\nsource = \{ (?:editable|directory) = "([^"]*)" \}')
# Tables of pyproject.toml that say how the code is looked at, not what is installed.
_OTHER_TOOLS = frozenset({
    "bandit", "basedpyright", "black", "codespell", "commitizen", "coverage", "flake8", "importlinter",
    "isort", "mypy", "nox", "pylint", "pyright", "pytest", "ruff", "testgrove", "towncrier", "tox", "vulture",
})  # fmt: skip


@dataclass(frozen=True)
class Wish:
    """What the settings ask for; None leaves it to the project's files. pytest: the suite needs it. deps: the
    dependency set."""

    extras: tuple[str, ...] | None = None
    groups: tuple[str, ...] | None = None
    pytest: bool = True
    deps: DependencySet = OWN


@dataclass(frozen=True)
class Contents:
    """What is installed.

    requirements: files, relative to the tree. extras: None means all but `without`. groups: beside the
    default ones where default_groups. project: how the tree itself gets in. names: the local distributions,
    which are built anew; None where they are not known. pytest: added where nothing brings it. notes: for
    the user. resolution: which versions uv chooses, where that is said. more: requirements beside the project's.
    lowest: what old versions are wanted of. then: what is installed over these contents, changing no more of them
    than it must.
    """

    kind: Kind
    requirements: tuple[str, ...] = ()
    extras: tuple[str, ...] | None = ()
    without: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    default_groups: bool = False
    project: Installation = "none"
    names: tuple[str, ...] | None = ()
    pytest: bool = True
    notes: tuple[str, ...] = ()
    resolution: str = ""
    more: tuple[str, ...] = ()
    lowest: Lowest | None = None
    then: Contents | None = None


@dataclass(frozen=True)
class EnvironmentPlan:
    """An environment before it exists. Two plans with the same fingerprint make the same one.

    python: the base interpreter. tree_hash: of the tree that is installed. deps: the dependency set's name.
    versioned: the folders of the local distributions whose version comes from git.
    """

    contents: Contents
    python: Path
    python_version: str
    tree_hash: str
    fingerprint: str
    deps: str = ""
    versioned: tuple[str, ...] = ()


def sources(names: Iterable[str]) -> tuple[str, ...]:
    """Which of a tree's files (those at its root and in ``requirements/``) decide about its environment."""
    found = set(names)
    return (*(name for name in _DECLARING if name in found), *requirement_files(found))


def requirement_files(names: Iterable[str]) -> tuple[str, ...]:
    """The requirement files to install, ``requirements.txt`` first."""
    return tuple(sorted(filter(_REQUIREMENTS.fullmatch, names), key=lambda n: (n != "requirements.txt", n)))


def mentioned(path: str, content: bytes) -> tuple[str, ...]:
    """Further files, relative to the tree, that decide because this one refers to them."""
    if path.endswith((".txt", ".in")):
        text = content.decode("utf-8", "replace")
        return _below(PurePosixPath(path).parent, _INCLUDE.findall(text))
    if path == "uv.lock":
        folders = [folder for _, folder in _locked_here(content) if folder != "."]
        return tuple(f"{folder}/{name}" for folder in folders for name in _DECLARING[:3])
    if path == "pyproject.toml":
        tool = read_toml(path, content).get("tool", {})
        dynamic = tool.get("setuptools", {}).get("dynamic", {})
        version = tool.get("hatch", {}).get("version", {}).get("path")
        return _below(PurePosixPath(), [*_files_in(dynamic), *filter(None, [version])])
    return ()


def _files_in(table: Mapping[str, Any]) -> list[str]:
    """All that is named by a key ``file`` in nested tables."""
    found: list[str] = []
    for key, value in table.items():
        if isinstance(value, dict):
            found += _files_in(value)
        elif key == "file":
            found += [value] if isinstance(value, str) else map(str, value)
    return found


def _below(folder: PurePosixPath, names: Iterable[str]) -> tuple[str, ...]:
    return tuple(str(folder / name) for name in names if "://" not in name and not name.startswith("/"))


def local_folders(files: Mapping[str, bytes]) -> tuple[str, ...]:
    """The folders of the local distributions, relative to the tree; ``.`` is the tree itself."""
    return tuple(dict.fromkeys([".", *(folder for _, folder in _locked_here(files.get("uv.lock", b"")))]))


def _locked_here(lock: bytes) -> list[tuple[str, str]]:
    """Names and folders of the distributions that a lock takes from the tree. Faster than parsing all of it."""
    found = []
    for match in _LOCKED_HERE.finditer(lock):
        start = lock.rfind(b'\nname = "', 0, match.start()) + len(b'\nname = "')
        found.append((lock[start : lock.index(b'"', start)].decode(), match[1].decode() or "."))
    return found


def fingerprint(files: Mapping[str, bytes], facts: Mapping[str, object]) -> str:
    """A hash over all that decides what an environment holds. facts: such as the interpreter; JSON-able."""
    whole = hashlib.blake2b(json.dumps(facts, sort_keys=True, default=str).encode(), digest_size=20)
    for path in sorted(files):
        content = _deciding_part(path, files[path])
        whole.update(f"\0{path}\0{len(content)}\0".encode() + content)
    return whole.hexdigest()


def _deciding_part(path: str, content: bytes) -> bytes:
    if PurePosixPath(path).name != "pyproject.toml":
        return content
    tables = read_toml(path, content)
    tables["tool"] = {name: tool for name, tool in tables.get("tool", {}).items() if name not in _OTHER_TOOLS}
    return json.dumps(tables, sort_keys=True, default=str).encode()


def decide(files: Mapping[str, bytes], wish: Wish) -> Contents:
    """Choose what to install: a lock, else requirement files, else the project, else pytest alone.

    Raises UsageError (``unknown-extra``, ``unknown-group``), PreconditionError for files that cannot be read.
    """
    declared = read_declared(files)
    dynamic = "setup.py" in files  # its extras may be computed
    _check("extra", wish.extras if not dynamic else None, declared.extras)
    _check("group", wish.groups, declared.groups)
    has_lock = "uv.lock" in files and "pyproject.toml" in files
    _check_set(wish.deps, files, has_lock=has_lock)
    if has_lock and wish.deps.is_own:
        return _from_lock(files["uv.lock"], declared, wish)
    if has_lock:
        return _from_lock_and_set(files, declared, wish)
    return _with_set(_from_files(files, declared, wish), files, declared, wish)


def _from_files(files: Mapping[str, bytes], declared: Declared, wish: Wish) -> Contents:
    requirements = (wish.deps.file,) if wish.deps.file else requirement_files(files)
    for_tests = any(name != "requirements.txt" for name in requirements)
    extras, groups = _test_parts(declared, wish, search=not for_tests)
    project: Installation = "none"
    if declared.installable or declared.has_project_table:
        project = "editable" if declared.installable else "dependencies"
    unnamed = any(_LOCAL_LINE.search(files[name].decode("utf-8", "replace")) for name in requirements)
    names = (declared.name,) if project == "editable" else ()
    something = groups or project != "none"
    kind: Kind = "requirements" if requirements else "pyproject" if something else "bare"
    lacking = declared.poetry_groups and not groups and not for_tests
    return Contents(
        kind, requirements, extras=extras, groups=groups, project=project, pytest=wish.pytest,
        names=None if unnamed or "" in names else names,
        notes=("the groups under [tool.poetry] are not installed: uv reads [dependency-groups]",) * lacking,
    )  # fmt: skip


def _check_set(deps: DependencySet, files: Mapping[str, bytes], *, has_lock: bool) -> None:
    if deps.locked and not has_lock:
        message = f"the dependency set '{deps.name}' needs a uv.lock, and there is none in this tree"
        raise PreconditionError("no-lock", message, hint="uv lock, and commit the file")
    if deps.file and deps.file not in files:
        message = f"the file of the dependency set '{deps.name}', {deps.file}, is not in this tree"
        raise PreconditionError("no-requirements-file", message, hint=f"git add {deps.file}", file=deps.file)


def _from_lock_and_set(files: Mapping[str, bytes], declared: Declared, wish: Wish) -> Contents:
    """What the lock names, with the set over it; or, for a set that leaves the lock, what uv finds instead."""
    locked = _from_lock(files["uv.lock"], declared, wish)
    extras = tuple(name for name in declared.extras if name not in locked.without)
    groups = (*(_default_groups(declared) if locked.default_groups else ()), *locked.groups)
    own = replace(
        locked,
        kind="requirements" if wish.deps.file else "pyproject",
        requirements=(wish.deps.file,) if wish.deps.file else (),
        extras=extras if locked.extras is None else locked.extras,
        groups=tuple(dict.fromkeys(groups)),
        default_groups=False,
    )
    free = _with_set(own, files, declared, wish)
    return free if wish.deps.leaves_the_lock else replace(locked, then=free)


def _with_set(contents: Contents, files: Mapping[str, bytes], declared: Declared, wish: Wish) -> Contents:
    """Contents that uv resolves together with the set's requirements, and with pytest: added afterwards, it could
    replace what the set has chosen."""
    deps = wish.deps
    if deps.is_own:
        return contents
    more = (*deps.requirements, *(("pytest",) if wish.pytest else ()))
    contents = replace(contents, resolution=deps.resolution, more=more)
    if not deps.is_lowest:
        return contents
    lines = [line for name in contents.requirements for line in files[name].decode("utf-8", "replace").splitlines()]
    tests = declared.members(contents.extras or (), contents.groups)
    return replace(contents, lowest=lowest([*more, *lines, *declared.dependencies], tests))


def _check(what: str, wanted: tuple[str, ...] | None, there: Iterable[str]) -> None:
    known = {normal(name): name for name in there}
    for name in wanted or ():
        if normal(name) not in known:
            names = ", ".join(sorted(known.values())) or "none"
            message = f"the project declares no {what} '{name}'"
            raise UsageError(f"unknown-{what}", message, hint=f"declared: {names}", name=name)


def _from_lock(lock: bytes, declared: Declared, wish: Wish) -> Contents:
    without = _conflicting(declared.uv) if wish.extras is None else ()
    notes = [f"the extra '{name}' conflicts with another one and is left out" for name in without]
    groups = wish.groups or ()
    if wish.groups is None and wish.pytest and not _default_brings_pytest(declared, wish.extras):
        groups = tuple(name for name in TEST_NAMES if declared.brings_pytest(groups=[name]))[:1]
        notes += [f"pytest is not in the default groups: the group '{name}' is installed too" for name in groups]
    return Contents(
        "uv-lock",
        extras=wish.extras,
        without=without,
        groups=groups,
        default_groups=wish.groups is None,
        project="editable" if declared.installable else "dependencies",
        names=tuple(name for name, _ in _locked_here(lock)),
        pytest=wish.pytest,
        notes=tuple(notes),
    )


def _default_brings_pytest(declared: Declared, extras: tuple[str, ...] | None) -> bool:
    return any(map(is_pytest, declared.dependencies)) or declared.brings_pytest(
        extras=declared.extras if extras is None else extras, groups=_default_groups(declared)
    )


def _default_groups(declared: Declared) -> tuple[str, ...]:
    default = declared.uv.get("default-groups", ["dev"])
    return tuple(declared.groups) if default == "all" else tuple(name for name in default if name in declared.groups)


def _conflicting(uv: Mapping[str, Any]) -> tuple[str, ...]:
    """Extras that cannot be installed together with one that is named before them."""
    sets = [[item["extra"] for item in conflict if "extra" in item] for conflict in uv.get("conflicts", ())]
    return tuple(dict.fromkeys(name for names in sets for name in names[1:]))


def _test_parts(declared: Declared, wish: Wish, *, search: bool) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The extras and groups to install: those asked for, the rest by the first name that brings pytest."""
    extras, groups = wish.extras, wish.groups
    asked = declared.brings_pytest(extras=extras or (), groups=groups or ())
    if not search or asked or (extras is not None and groups is not None):
        return extras or (), groups or ()
    named = [name for name in TEST_NAMES if name in declared.extras or name in declared.groups]
    every = (*named, *declared.groups, *declared.extras)
    fitting = [name for name in every if declared.brings_pytest(extras=[name], groups=[name])]
    chosen = (fitting + named)[:1]
    found_extras = tuple(name for name in chosen if name in declared.extras)
    found_groups = tuple(name for name in chosen if name in declared.groups)
    return found_extras if extras is None else extras, found_groups if groups is None else groups
