"""Questions to a migration tool, and its answers."""

from __future__ import annotations

from typing import Literal, Protocol

from testgrove.core.frozen import frozen
from testgrove.core.migrations.steps import Migration, Step

Models = Literal["same", "differ", "not compared", "failed"]


@frozen
class Command:
    """Something to do: a shell command in the project's environment."""

    text: str


@frozen
class Script:
    """One piece of work: SQL from a file of the project. leads_to: the database's revision afterwards."""

    file: str
    sql: str
    leads_to: str


Work = Command | Script


@frozen
class Listing:
    """A tool's list of migrations. conflicts: its message about several heads; empty if there is one."""

    migrations: tuple[Migration, ...]
    conflicts: str = ""


class Tool(Protocol):
    """A tool that knows a project's migrations."""

    @property
    def name(self) -> str:
        """For people."""

    @property
    def listing(self) -> Command | None:
        """The command that lists the migrations; None where they are known already."""

    @property
    def models(self) -> Command | None:
        """The command that compares the models with a migrated database; None where there are none."""

    def read(self, output: str) -> Listing:
        """The listing's output. Raises PreconditionError (``no-migrations``)."""

    def revision(self, sequence: str, name: str) -> str:
        """A sequence's migration, as forward() and back() take it. name: empty for the state before the first."""

    def forward(self, revision: str, at: str) -> tuple[Work, ...]:
        """Return the command that migrates up to a revision. at: the revision it is at, ``base`` for nothing. Raises
        UsageError (``unknown-revision``)."""

    def back(self, revision: str, at: str) -> tuple[Work, ...]:
        """Return the command that migrates down to a revision, ``base`` for nothing. Raises as above, and
        PreconditionError (``irreversible``) where that is known beforehand."""

    def judge(self, status: int, output: str) -> tuple[Models, str]:
        """Return the finding of the models' comparison, with the reason or the difference."""


def through(tool: Tool, step: Step) -> tuple[Work, ...]:
    """Return the command that brings a database through a step."""
    before = dict(step.before)
    return tuple(
        work
        for app, name in step.after
        for work in tool.forward(tool.revision(app, name), tool.revision(app, before[app]))
    )


def back_through(tool: Tool, step: Step) -> tuple[Work, ...]:
    """Return the command that brings it back through a step. Raises PreconditionError (``irreversible``)."""
    after = dict(step.after)
    return tuple(
        work
        for app, name in reversed(step.before)
        for work in tool.back(tool.revision(app, name), tool.revision(app, after[app]))
    )
