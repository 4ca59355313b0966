"""The literal install lines of a project's CI: they tell which of several choices is meant. Nothing is run."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

from testgrove.core.environments.install_words import InstallTargets, asked, installs_tree
from testgrove.core.frozen import frozen
from testgrove.core.lazy_pattern import lazy_pattern

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_WORKFLOW = lazy_pattern(r"\.github/workflows/[^/]+\.ya?ml|\.gitlab-ci\.yml|\.travis\.yml|azure-pipelines\.yml")
_INSTALL = lazy_pattern(
    r"\b(?:pip3?\s+install|uv\s+sync|uv\s+run|poetry\s+install|pdm\s+(?:install|sync)|pipenv\s+(?:install|sync))\s+(.*)"
)
_RUNNERS = lazy_pattern(r"(?<![\w./-])(tox|nox|hatch)(?:\s|$)")
_JOB = lazy_pattern(r"^  (?=[\w-]+:\s*$)", re.MULTILINE)  # GitHub's jobs are indented by two spaces
_COMMENT = lazy_pattern(r"^\s*#.*$", re.MULTILINE)
_TESTS = lazy_pattern(r"(?<![a-z])(?:py)?tests?(?![a-z])|unittest|(?<![\w-])(?:tox|nox|hatch|coverage)(?![\w-])")
_PREFIX = lazy_pattern(r"^\s*(?:-\s+)?(?:run:\s*|script:\s*)?[|>]?\s*")


@frozen
class InstallLines:
    """The install commands in the workflows.

    runners: those of tox, nox and hatch that they start. each: by command. tree: whether one installs the tree itself.
    """

    files: frozenset[str] = frozenset()
    extras: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()
    runners: frozenset[str] = frozenset()
    each: tuple[InstallTargets, ...] = ()
    tree: bool = False

    def extras_in_command(self, *, group: str = "", file: str = "") -> tuple[str, ...]:
        """The extras of the first command that installs a group or a file, and extras with it."""
        beside = (one.extras for one in self.each if group in one.groups or file in one.files)
        return next(filter(None, beside), ())


def is_workflow(path: str) -> bool:
    """Return whether a file, by its path in the tree, is one of a CI system."""
    return _WORKFLOW.fullmatch(path) is not None


def read_workflows(files: Mapping[str, bytes], own: str = "") -> InstallLines:
    """The install lines of all workflows among files. own: the name of the project itself.

    A job that never speaks of tests installs for something else, unless all do so.
    """
    texts = (text.decode("utf-8", "replace") for path, text in files.items() if is_workflow(path))
    jobs = [job for text in texts for job in _JOB.split(_COMMENT.sub("", text))]
    lines = [line for job in [job for job in jobs if _TESTS.search(job)] or jobs for line in _lines(job)]
    commands = [_words(match[1]) for line in lines for match in _INSTALL.finditer(line)]
    found = [asked(words, own) for words in commands]
    runners = (match[1] for line in lines if not _INSTALL.search(line) for match in _RUNNERS.finditer(line))
    return InstallLines(
        frozenset(name for one in found for name in one.files),
        frozenset(name for one in found for name in one.extras),
        frozenset(name for one in found for name in one.groups),
        frozenset(runners),
        tuple(found),
        any(map(installs_tree, commands)),
    )


def _lines(content: str) -> Iterator[str]:
    """The lines that look like commands, without comments, continued ones as one."""
    text = re.sub(r"\\\n\s*", " ", content)
    for line in text.splitlines():
        if not re.match(r"\s*(#|(-\s+)?(name|uses|key|path|if)\s*:)", line):
            yield from re.split(r"&&|;|\|\|", _PREFIX.sub("", line))


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text, comments=True)
    except ValueError:  # a quote that ends elsewhere
        return text.split()
