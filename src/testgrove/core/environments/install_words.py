"""The words of an install command, such as ``-r tests.txt -e .[fast] pytest``: what they ask for. Nothing is run."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from testgrove.core.environments.declared import normal
from testgrove.core.frozen import frozen
from testgrove.core.lazy_pattern import lazy_pattern

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_OWN = lazy_pattern(r"([A-Za-z0-9._-]*)\[([^\]]*)\]$")
_TREE = lazy_pattern(r"(?:-e)?\./?(?:\[[^\]]*\])?")
_FILE = {"-r", "--requirement", "--requirements"}
_EXTRA = {"--extra", "--extras", "-E"}
_GROUP = {"--group", "--with", "-G", "-dG", "--only", "--only-group"}
_SKIPPED = {"-c", "--constraint", "--constraints", "-i", "--index-url", "--extra-index-url", "-f", "--find-links"}
_SHORT = lazy_pattern(r"(-r|-c|-e|-E|-G)(?=[^-=\s])(.+)")


@frozen
class InstallTargets:
    """The targets of an install command. files: relative to the tree; requirements: further ones."""

    files: tuple[str, ...] = ()
    extras: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    requirements: tuple[str, ...] = ()


def asked(words: Sequence[str], own: str = "") -> InstallTargets:
    """Parse the words after ``pip install``, ``uv sync`` or the like. own: the name of the project itself."""
    files: list[str] = []
    extras: list[str] = []
    groups: list[str] = []
    requirements: list[str] = []
    by_kind = {"file": files, "extra": extras, "group": groups, "requirement": requirements}
    for kind, value in _pairs(words, own):
        by_kind[kind].append(value)
    return InstallTargets(*(tuple(dict.fromkeys(each)) for each in (files, extras, groups, requirements)))


def installs_tree(words: Sequence[str]) -> bool:
    """Return whether the words after ``pip install`` name the tree itself: ``.``, ``-e .`` or ``.[extra]``."""
    return any(_TREE.fullmatch(word) for word in words)


def _pairs(words: Sequence[str], own: str) -> Iterator[tuple[str, str]]:
    todo = [part for word in words for part in _separate(word)]
    while todo:
        word = todo.pop(0)
        if word in _FILE | _EXTRA | _GROUP | _SKIPPED:
            yield from _valued(word, todo.pop(0) if todo else "")
        elif not word.startswith("-"):
            yield from _requirement(word, own)


def _separate(word: str) -> list[str]:
    """``--extra=a`` and ``-ra.txt`` as two words."""
    if word.startswith("--") and "=" in word:
        return list(word.split("=", 1))
    match = _SHORT.fullmatch(word) if word not in _GROUP else None
    return [match[1], match[2]] if match else [word]


def _valued(option: str, value: str) -> Iterator[tuple[str, str]]:
    if not value or "$" in value or "{" in value:  # known only when it runs
        return
    if option in _FILE:
        yield "file", str(PurePosixPath(value))
    elif option not in _SKIPPED:
        kind = "extra" if option in _EXTRA else "group"
        yield from ((kind, part) for part in re.split(r"[,\s]+", value) if part)


def _requirement(word: str, own: str) -> Iterator[tuple[str, str]]:
    if "$" in word or "{" in word or word in (".", "./"):
        return
    match = _OWN.match(word.removeprefix("./"))
    if match and (match[1] in ("", ".") or (own and normal(match[1]) == normal(own))):
        yield from (("extra", part.strip()) for part in match[2].split(",") if part.strip())
    elif not (own and normal(word) == normal(own)):
        yield "requirement", word
