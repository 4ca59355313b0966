"""Plans: what will happen, as values. Actions on worktrees, and suites × refs × interpreters as cells."""

from __future__ import annotations

import enum
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from testgrove.core.config import Suite
from testgrove.core.model import WorktreeId
from testgrove.errors import UsageError


class Action(enum.StrEnum):
    """One step of a worktree's life. What it made is undone through the leases written before it."""

    LEASE_PORTS = "lease ports"
    ADD_CHECKOUT = "add checkout"
    CHECK_OUT_FILES = "check out files"
    RETARGET_CHECKOUT = "retarget checkout"
    BUILD_ENVIRONMENT = "build environment"
    MAKE_DATABASES = "make databases"
    WRITE_FILES = "write files"
    PREFLIGHT = "preflight"
    TAKE_MANIFEST = "take manifest"
    COLLECT_OUTPUTS = "collect outputs"
    DETACH_HEAD = "detach head"
    RELEASE_PORTS = "release ports"
    UNDO_LEASES = "undo leases"
    FORGET = "forget"


@dataclass(frozen=True)
class Cell:
    """One suite × ref × interpreter: what one worktree runs.

    key: unique in the run, stable between runs. ref: as the user wrote it; empty for the working tree.
    python: as requested; empty for the project's own choice.
    """

    key: str
    suite: str
    settings: Suite
    ref: str
    python: str
    id: WorktreeId

    def numbered(self, number: int) -> WorktreeId:
        """The cell's worktree id, or its number-th stand-in while another run holds it."""
        if number == 1:
            return self.id
        return replace(self.id, identifier=f"{self.id.identifier[:45]}-{number}")


DOCUMENTED_PURPOSES = ("unit", "integration", "performance", "premerge", "migration", "matrix")


def cells(
    suites: Mapping[str, Suite], refs: Sequence[str], pythons: Sequence[str], *, arguments: Sequence[str] = ()
) -> tuple[Cell, ...]:
    """Expand suites × refs × interpreters. refs and pythons may be empty; arguments are added to each command."""
    expanded = []
    for ref in _unique(refs) or [""]:
        for python in _unique(pythons) or [""]:
            for name, suite in suites.items():
                command = " ".join([suite.command, *map(shlex.quote, arguments)])
                expanded.append(_cell(name, replace_command(suite, command), ref, python))
    return tuple(expanded)


def _cell(name: str, suite: Suite, ref: str, python: str) -> Cell:
    purpose = suite.purpose or f"test-{_slug(name)}"
    parts = [_slug(ref) or "tree"]
    if purpose != f"test-{_slug(name)}":
        parts.insert(0, _slug(name))
    if python:
        parts.append(f"py{_slug(python)}")
    key = name + (f"@{ref}" if ref else "") + (f"-py{python}" if python else "")
    return Cell(key, name, suite, ref, python, WorktreeId(purpose, _bounded("-".join(parts))))


def replace_command(suite: Suite, command: str) -> Suite:
    """The suite with another command."""
    import msgspec  # noqa: PLC0415 - keeps this module cheap for commands that only name actions

    return msgspec.structs.replace(suite, command=command)


def _unique(values: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(values))


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._]+|\.{2,}", "-", text).strip("-._")


def _bounded(identifier: str) -> str:
    if len(identifier) <= 50:
        return identifier
    import hashlib  # noqa: PLC0415 - only very long names need it

    return f"{identifier[:41].rstrip('-._')}-{hashlib.sha256(identifier.encode()).hexdigest()[:8]}"


def select(suites: Mapping[str, Suite], names: Sequence[str]) -> dict[str, Suite]:
    """The named suites, or all. Raises UsageError for a name that is not there, or when there is none at all."""
    if not suites:
        raise UsageError(
            "no-suites",
            "this project has no test suites: no [tool.testgrove.suites], no tests folder",
            hint='add one to pyproject.toml: [tool.testgrove.suites.unit] with command = "pytest tests"',
        )
    for name in names:
        if name not in suites:
            raise UsageError("unknown-suite", f"there is no suite '{name}'", hint=f"there are: {', '.join(suites)}")
    return {name: suites[name] for name in (_unique(names) or suites)}
