"""Findings of a check of migrations, as values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from testgrove.core.frozen import frozen
from testgrove.core.migrations.schema import Schema, difference
from testgrove.core.migrations.tool import Models

Code = Literal[
    "several-heads",  # it is ambiguous which migration is the newest
    "cannot-be-listed",
    "forward-failed",
    "leaves-behind",  # going back does not lead to the schema that was there before
    "irreversible",  # going back is not possible, and that is meant
    "back-failed",
    "forward-again-failed",
    "forward-again-differs",
    "models-differ",
    "models-failed",
]
_MEANT = ("NotImplementedError", "IrreversibleError", "Irreversible")


@frozen
class Problem:
    """A problem of a migration.

    diff: lines that start with ``-`` or ``+``. output: of the tool. accepted: the user accepts the problem."""

    code: Code
    migration: str
    message: str
    diff: tuple[str, ...] = ()
    output: str = ""
    accepted: bool = False

    def document(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "code": self.code, "migration": self.migration, "message": self.message, "diff": list(self.diff),
            "output": self.output, "accepted": self.accepted,
        }  # fmt: skip


@dataclass
class Checked:
    """One service's migrations. name: for the user, with the version if there are several. steps: their names, in
    order; reason: why the models were not compared."""

    name: str
    tool: str
    steps: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    models: Models = "not compared"
    reason: str = ""
    service: str = ""
    engine: str = ""

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong that its user does not know."""
        return all(problem.accepted for problem in self.problems)

    def document(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "service": self.service, "engine": self.engine, "tool": self.tool,
            "passed": self.passed, "steps": self.steps,
            "models": {"result": self.models, "reason": self.reason},
            "problems": [problem.document() for problem in self.problems],
        }  # fmt: skip


class Drift:
    """Differences between a database and its expected schema. Each difference is reported once."""

    def __init__(self) -> None:
        self._known: set[str] = set()

    def new(self, wanted: Schema, found: Schema) -> tuple[str, ...]:
        """Return what differs now and did not before."""
        diff = difference(wanted, found)
        fresh = tuple(line for line in diff if line not in self._known)
        self._known = set(diff)
        return fresh


def way_back_failed(migration: str, output: str, accepted: bool) -> Problem:
    """Return why a migration back failed: it is declared irreversible, or it has an error."""
    last = last_line(output)
    if is_meant(output):
        return Problem("irreversible", migration, f"irreversible: {last}", output=output, accepted=accepted)
    return Problem("back-failed", migration, f"the migration back failed: {last}", output=output, accepted=accepted)


def is_meant(output: str) -> bool:
    """Return whether a way back that failed was never meant to be one."""
    return any(word in output for word in _MEANT)


def last_line(output: str) -> str:
    """Return the line of the output that usually contains the error."""
    lines = [
        line
        for line in output.splitlines()
        if line.strip() and not line.startswith(("LINE ", "[SQL", "(Background", " "))
    ]
    errors = [line for line in lines if "Error" in line or "ERROR" in line or "FAILED" in line]
    return (errors or lines or ["no output"])[-1].strip()
