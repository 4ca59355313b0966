"""Tests that the user names by path: which suites run them, and with which command."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Mapping, Sequence

from testgrove.core.runs.outcome import is_pytest
from testgrove.core.runs.plan import replace_command
from testgrove.core.settings.types import Suite
from testgrove.errors import UsageError


def looks_like_a_path(word: str) -> bool:
    """Return whether a word can only mean tests, and no suite."""
    return "/" in word or "::" in word or word.endswith(".py")


def narrow(suites: Mapping[str, Suite], tests: Sequence[str], paths: Collection[str]) -> dict[str, Suite]:
    """The suites that run these tests, each with a command that runs no others.

    tests: paths and node ids, relative to the checkout. paths: its files and folders. A test belongs to the suites
    whose command names its nearest folder; to those that name none where no other does.
    Raises UsageError (``unknown-test``) for a test that no suite runs.
    """
    if not tests:
        return dict(suites)
    named = {name: _named(suite.command, paths) for name, suite in suites.items() if is_pytest(suite.command)}
    chosen: dict[str, list[str]] = {}
    for test in tests:
        for name in _owners(test, named):
            chosen.setdefault(name, []).append(test)
    return {name: replace_command(suites[name], _with(suites[name].command, named[name], tests_of))
            for name, tests_of in chosen.items()}  # fmt: skip


def _named(command: str, paths: Collection[str]) -> list[str]:
    """The words of a pytest command that are paths of the checkout."""
    try:
        words = shlex.split(command)
    except ValueError:
        return []
    return [word for word in words if _path(word) in paths]


def _path(word: str) -> str:
    return word.partition("::")[0].rstrip("/").removeprefix("./")


def _owners(test: str, named: Mapping[str, Sequence[str]]) -> list[str]:
    depths = {name: _depth(test, folders) for name, folders in named.items()}
    nearest = max(depths.values(), default=-1)
    if nearest < 0:
        there = "; ".join(f"{name}: {', '.join(folders)}" for name, folders in named.items() if folders)
        message = f"no suite runs '{test}'"
        raise UsageError("unknown-test", message, hint=f"suites run: {there or 'no pytest'}", name=test)
    return [name for name, depth in depths.items() if depth == nearest]


def _depth(test: str, folders: Sequence[str]) -> int:
    """Return how near the nearest of these folders is to a test; 0 where none is named, -1 where it is in none."""
    if not folders:
        return 0
    path = _path(test)
    return max((len(each) for each in map(_path, folders) if path == each or path.startswith(f"{each}/")), default=-1)


def _with(command: str, folders: Sequence[str], tests: Sequence[str]) -> str:
    """A command with these tests in place of its folders; the rest of its text stays as it is."""
    words = iter([f" {shlex.join(tests)}"])
    either = "|".join(map(re.escape, sorted(folders, key=len, reverse=True)))
    if not folders:
        return command + next(words)
    return re.sub(rf"\s+(?:{either})(?!\S)", lambda _match: next(words, ""), command)
