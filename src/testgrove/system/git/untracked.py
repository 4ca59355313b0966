"""The files of a checkout that git does not have, by globs."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from testgrove.system.git.call import LONGEST, call, require

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


def untracked_files(checkout: Path, glob: str) -> list[str]:
    """Untracked and ignored files that a glob names, from the top; a folder means what is in it.

    Links are not followed, and nested repositories left out.
    """
    return [path for path in _listed(checkout, "--others", glob) if not path.endswith("/")]


def ignored_files(checkout: Path, patterns: Path) -> list[str]:
    """Ignored files that also match the patterns in a file with .gitignore's syntax, without nested repositories."""
    words = ("ls-files", "-z", "--others", "--ignored", "--full-name", f"--exclude-from={patterns}")
    matching = require(call(checkout, *words, timeout=LONGEST), f"look for the files of {patterns}").fields()
    ignored = ignored_among(checkout, matching)
    return [path for path in matching if path in ignored and not path.endswith("/")]


def tracked_files(checkout: Path, glob: str) -> list[str]:
    """Tracked files that a glob names, from the top; a folder means what is in it."""
    return _listed(checkout, "--cached", glob)


def _listed(checkout: Path, which: str, glob: str) -> list[str]:
    folder = glob.rstrip("/")
    words = ("ls-files", "-z", which, "--full-name", "--", f":(top,glob){folder}", f":(top,glob){folder}/**")
    answer = call(checkout, *words, timeout=LONGEST)
    return require(answer, f"look for '{glob}' in {checkout}").fields()


def tracked_among(checkout: Path, paths: Iterable[str]) -> set[str]:
    """Those of the paths that git tracks in a checkout."""
    # All of them: `ls-files` reads no list of paths from a file, and a command line is limited.
    answer = call(checkout, "ls-files", "-z", "--cached", timeout=LONGEST)
    return {*require(answer, f"list the files of {checkout}").fields()}.intersection(paths)


def ignored_among(checkout: Path, paths: Iterable[str]) -> set[str]:
    """Those of the paths that git ignores in a checkout."""
    question = b"".join(os.fsencode(path) + b"\0" for path in paths)
    if not question:
        return set()
    answer = call(checkout, "check-ignore", "-z", "--stdin", "--no-index", stdin=question, timeout=LONGEST)
    return {*answer.fields()}  # its status is 1 when there is none
