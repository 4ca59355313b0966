"""Requirement files: which of a tree's files are some, which one is for the tests, and what they refer to."""

from __future__ import annotations

import os.path
import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from testgrove.core.environments.declared import Declared, is_pytest, normal
from testgrove.core.lazy_pattern import lazy_pattern

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

FOLDERS = ("requirements", "reqs", "tests", "test")
_ROLES = ("tests", "test", "testing", "dev", "develop", "development", "local", "ci")
_BASES = ("base", "requirements", "main", "common", "app", "prod", "production")
_NAMED = frozenset({"requirements", "requirement", "reqs"})
_FILLING = _NAMED | {"py", "python", "python3", "pip"}
_INSTALLED = lazy_pattern(r"^\s*(?:-r|--requirement)[\s=]*([^\s#]+)", re.MULTILINE)
_MENTIONED = lazy_pattern(r"^\s*(?:-r|-c|--requirement|--constraint)[\s=]*([^\s#]+)", re.MULTILINE)
_EXTRAS_HERE = lazy_pattern(r"^\s*(?:(?:-e|--editable)[\s=]*)?\.(?:/)?\[([^\]]+)\]", re.MULTILINE)
_PIN = lazy_pattern(
    r"^\s*([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[[^\]]*\])?\s*===?\s*([^\s;#,\\]+)\s*(?:[#\\].*)?$", re.MULTILINE
)


def requirement_files(names: Iterable[str]) -> tuple[str, ...]:
    """The requirement files for tests or development, the likeliest first.

    names: paths in the tree, of which those at its top and in FOLDERS count.
    """
    found = set(names)
    ranks = {name: rank for name in found if (rank := _rank(name)) and not _is_source(name, found)}
    return tuple(sorted(ranks, key=lambda name: (ranks[name], name)))


def base_files(names: Iterable[str]) -> tuple[str, ...]:
    """The files that hold what the project needs at run time, by custom, the likeliest first."""
    found = set(names)
    folders = [f"{folder}/{base}" for folder in FOLDERS[:2] for base in _BASES]
    wanted = [f"{stem}{suffix}" for stem in ("requirements", *folders) for suffix in (".txt", ".in")]
    return tuple(name for name in wanted if name in found and not _is_source(name, found))


def _is_source(name: str, names: set[str]) -> bool:
    """Return whether another file was compiled from it."""
    return name.endswith(".in") and f"{name[:-3]}.txt" in names


def _rank(path: str) -> tuple[int, int] | None:
    """Return how likely a file is meant for tests: its word for them, then how many further words its name has."""
    folder, _, name = path.lower().rpartition("/")
    stem, suffix = PurePosixPath(name).stem, PurePosixPath(name).suffix
    words = re.split(r"[-_.]", stem)
    if suffix not in (".txt", ".in") or folder not in ("", *FOLDERS):
        return None
    if folder not in FOLDERS[:2] and _NAMED.isdisjoint(words):
        return None
    if folder in FOLDERS[2:]:
        words.append(folder)
    roles = [_ROLES.index(word) for word in words if word in _ROLES]
    further = sum(word not in _FILLING and word not in _ROLES for word in words)
    return (min(roles), further) if roles else None


def mentioned_in(path: str, content: bytes) -> tuple[str, ...]:
    """The files in the tree that a requirement file refers to, also as constraints."""
    return _below(path, _MENTIONED.findall(content.decode("utf-8", "replace")))


def _below(path: str, names: Iterable[str]) -> tuple[str, ...]:
    folder = PurePosixPath(path).parent
    inside = (name for name in names if "://" not in name and not name.startswith("/"))
    return tuple(os.path.normpath(folder / name) for name in inside)


def closure(path: str, files: Mapping[str, bytes]) -> dict[str, str]:
    """The text of a requirement file and of those that it installs (``-r``), by path."""
    found: dict[str, str] = {}
    todo = [path]
    while todo:
        name = todo.pop()
        if name in files and name not in found:
            found[name] = files[name].decode("utf-8", "replace")
            todo += _below(name, _INSTALLED.findall(found[name]))
    return found


def brings_pytest(path: str, files: Mapping[str, bytes], declared: Declared) -> bool:
    """Return whether a requirement file names pytest, itself, through others or through the project's extras."""
    texts = closure(path, files).values()
    extras = [part.strip() for text in texts for each in _EXTRAS_HERE.findall(text) for part in each.split(",")]
    lines = (line.strip() for text in texts for line in text.splitlines())
    return any(map(is_pytest, lines)) or declared.brings_pytest(extras=extras)


def contradiction(one: str, other: str, files: Mapping[str, bytes]) -> str:
    """Return what two files pin to different versions, such as ``six==1.16.0, not 1.17.0``; empty where there is
    nothing."""
    first, second = dict(_pins(one, files)), dict(_pins(other, files))
    for name in first.keys() & second.keys():
        if first[name] != second[name]:
            return f"it pins {name}=={first[name]}, {other} pins {second[name]}"
    return ""


def _pins(path: str, files: Mapping[str, bytes]) -> Iterator[tuple[str, str]]:
    for text in closure(path, files).values():
        yield from ((normal(name), version) for name, version in _PIN.findall(text))
