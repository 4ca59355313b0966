"""Plans: what will happen, as values. Actions on worktrees; suites × refs × interpreters × dependency sets as cells."""

from __future__ import annotations

import enum
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field, replace
from itertools import product
from typing import TYPE_CHECKING

from testgrove.core.frozen import frozen
from testgrove.core.model import WorktreeId
from testgrove.core.settings.types import Suite
from testgrove.errors import UsageError

if TYPE_CHECKING:
    from testgrove.core.runs.events import ScenarioInfo


class Action(enum.StrEnum):
    """One step of a worktree's life. What it made is undone through the leases written before it."""

    LEASE_PORTS = "lease ports"
    ADD_CHECKOUT = "add checkout"
    CHECK_OUT_FILES = "check out files"
    RETARGET_CHECKOUT = "retarget checkout"
    FAST_FORWARD = "fast-forward"
    COPY_FILES = "copy files"
    BUILD_ENVIRONMENT = "build environment"
    MAKE_DATABASES = "make databases"
    WRITE_FILES = "write files"
    RUN_SETUP = "run setup"
    PREFLIGHT = "preflight"
    TAKE_MANIFEST = "take manifest"
    EXAMINE = "examine"
    RUN_TEARDOWN = "run teardown"
    EXAMINE_AGAIN = "examine again"
    KEEP_COMMITS = "keep commits"
    COLLECT_OUTPUTS = "collect outputs"
    DETACH_HEAD = "detach head"
    RELEASE_PORTS = "release ports"
    UNDO_LEASES = "undo leases"
    FORGET = "forget"


@frozen
class Cell:
    """One suite × ref × interpreter × dependency set × engine versions: what one worktree runs.

    key: unique in the run, stable between runs. ref: as the user wrote it; empty for the working tree.
    python, deps: as requested; empty for the project's default. versions: of the engines with several. folder: its
    folder in the run's folder, by default its worktree's id. scenario: the additional fields of a scenario.
    subproject: whose settings count; empty for the top's.
    """

    key: str
    suite: str
    settings: Suite
    ref: str
    python: str
    id: WorktreeId
    deps: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    folder: str = ""
    scenario: ScenarioInfo | None = None
    subproject: str = ""

    def numbered(self, number: int) -> WorktreeId:
        """Return the cell's worktree id, or its number-th substitute while another run holds it."""
        if number == 1:
            return self.id
        return replace(self.id, identifier=f"{self.id.identifier[:45]}-{number}")


DOCUMENTED_PURPOSES = ("unit", "integration", "performance", "premerge", "migration", "matrix")


def cells(
    suites: Mapping[str, Suite],
    refs: Sequence[str],
    pythons: Sequence[str],
    sets: Sequence[str] = (),
    versions: Mapping[str, Sequence[str]] | None = None,
    *,
    arguments: Sequence[str] = (),
) -> tuple[Cell, ...]:
    """Expand suites × refs × interpreters × dependency sets × versions of the engines that a suite uses.

    Each but the suites may be empty. versions: of each engine. arguments are added to each command.
    """
    expanded: list[Cell] = []
    for ref, python, deps in product(_unique(refs) or [""], _unique(pythons) or [""], _unique(sets) or [""]):
        for name, suite in suites.items():
            whole = replace_command(suite, " ".join([suite.command, *map(shlex.quote, arguments)]))
            engines = _engines(suite, versions or {})
            expanded += [_cell(name, whole, ref, python, deps, chosen) for chosen in engines]
    return tuple(expanded)


def _engines(suite: Suite, versions: Mapping[str, Sequence[str]]) -> Iterator[dict[str, str]]:
    several = [engine for engine in suite.services if len(versions.get(engine, ())) > 1]
    for chosen in product(*(_unique(versions[engine]) for engine in several)):
        yield dict(zip(several, chosen, strict=True))


def _cell(name: str, suite: Suite, ref: str, python: str, deps: str, versions: Mapping[str, str]) -> Cell:
    purpose = suite.purpose or f"test-{_slug(name)}"
    parts = [_slug(ref) or "tree"]
    if purpose != f"test-{_slug(name)}":
        parts.insert(0, _slug(name))
    if python:
        parts.append(f"py{_slug(python)}")
    further = [*filter(None, [deps]), *(f"{engine}{version}" for engine, version in versions.items())]
    parts += map(_slug, further)
    # Read from its end, a key is never ambiguous: no version and no set has a '+' in its name.
    key = name + (f"@{ref}" if ref else "") + (f"-py{python}" if python else "") + "".join(f"+{one}" for one in further)
    worktree = WorktreeId(purpose, _bounded("-".join(parts)))
    return Cell(key, name, suite, ref, python or named_python(worktree, name) or "", worktree, deps, versions)


def named_python(worktree: WorktreeId, *more: str) -> str | None:
    """The Python that a ``test-matrix`` worktree's identifier ends in (``py3.12``). more: other names to look at."""
    if worktree.purpose != "test-matrix":
        return None
    found = (re.search(r"(?:^|[^A-Za-z0-9])py(\d+\.\d+)$", name) for name in (worktree.identifier, *more))
    return next((match[1] for match in found if match), None)


def purpose_of(name: str, suite: Suite) -> str:
    """Return the purpose of a suite's worktrees: as configured, else after its name."""
    return suite.purpose or f"test-{_slug(name)}"


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


def select(suites: Mapping[str, Suite], names: Sequence[str], table: str) -> dict[str, Suite]:
    """The named suites, or all. Raises UsageError for a name that is not there, or when there is none at all.

    table: where a suite is declared."""
    if not suites:
        raise UsageError(
            "no-suites",
            "no test suites found: no [tool.testgrove.suites] and no tests folder",
            hint=f'name the files of tests test_*.py, or add command = "pytest" to {table}',
        )
    for name in names:
        if name not in suites:
            import difflib  # noqa: PLC0415 - for a mistake only

            near = difflib.get_close_matches(name, suites, 1)
            first = f"testgrove test {near[0]}   " if near else ""
            hint = f"{first}available: {', '.join(suites)}"
            raise UsageError("unknown-suite", f"suite '{name}' not found", hint=hint)
    return {name: suites[name] for name in (_unique(names) or suites)}
