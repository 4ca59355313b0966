"""The suites of a checkout: as configured, or found in its files."""

from __future__ import annotations

import difflib
import os
import shlex
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from testgrove.app.project import table_named
from testgrove.core.runs.default_suites import find_suites
from testgrove.core.runs.narrowing import looks_like_a_path, narrow
from testgrove.core.runs.plan import select
from testgrove.core.runs.pytest_settings import READ
from testgrove.core.settings.types import Settings, Suite
from testgrove.errors import UsageError
from testgrove.system import git


def suites_of(top: Path, settings: Settings) -> dict[str, Suite]:
    """By name; empty where there are no tests. Files that cannot be read say nothing about tests."""
    if settings.suites:
        return dict(settings.suites)
    files = git.listed_files(top)
    return find_suites(settings, files, {name: _text(top / name) for name in READ if name in files})


def selected(top: Path, settings: Settings, words: Sequence[str], *, there: bool) -> dict[str, Suite]:
    """The suites that the words name, whole, or with the tests in them that the words name.

    A word is a suite's name, else a path or a node id, from where the user stands or from the top. there: its file must
    exist now; otherwise it may exist at another ref. Raises UsageError (``no-suites``, ``unknown-suite``,
    ``unknown-test``).
    """
    suites = suites_of(top, settings)
    tests = [word for word in words if word not in suites and (looks_like_a_path(word) or (top / word).exists())]
    named = select(suites, [word for word in words if word not in tests], table_named(top, "suites.unit"))
    if not tests:
        return named
    files = git.listed_files(top)
    paths = {*files, *(str(parent) for path in files for parent in PurePosixPath(path).parents)} - {"."}
    return narrow(named, [_from_top(word, top, there=there) for word in tests], paths)


def _from_top(test: str, top: Path, *, there: bool) -> str:
    """A test as it is called at the top of the checkout."""
    path, mark, name = test.partition("::")
    here = Path(os.path.normpath(Path.cwd() / path))
    if here.exists() and here.is_relative_to(top):
        return str(here.relative_to(top)) + mark + name
    if there and not (top / path).exists():
        near = difflib.get_close_matches(path, git.listed_files(top), 1)
        hint = f"testgrove test {shlex.quote(near[0])}" if near else f"give a path from {top}, or a suite"
        raise UsageError("unknown-test", f"'{path}' not found", hint=hint, name=test)
    return test


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
