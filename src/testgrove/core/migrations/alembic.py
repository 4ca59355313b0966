"""Alembic's commands and their output."""

from __future__ import annotations

import re
import shlex

from testgrove.core.frozen import frozen
from testgrove.core.migrations.steps import Migration, in_order
from testgrove.core.migrations.tool import Command, Listing, Models, Work
from testgrove.errors import PreconditionError

_LINE = re.compile(
    r"^(?:<base>|(?P<parents>[^\s,()]+(?:, [^\s,()]+)*))(?: \((?P<needs>[^()]+)\))? -> (?P<name>[^\s,()]+)",
    re.MULTILINE,
)


@frozen
class Alembic:
    """command: it ends in ``upgrade head``, or, as Flask-Migrate has it, in ``db upgrade``."""

    command: str
    name = "Alembic"

    def _said(self, words: str) -> Command:
        return Command(re.sub(r"upgrade(\s+heads?)?$", lambda _: words, self.command))

    @property
    def listing(self) -> Command:
        """Implement Tool."""
        return self._said("history")

    @property
    def models(self) -> Command:
        """Implement Tool."""
        return self._said("check")

    def read(self, output: str) -> Listing:
        """Implement Tool."""
        found = [_migration(line) for line in _LINE.finditer(output)]
        if not found:
            raise PreconditionError("no-migrations", f"no Alembic migrations found: `{self.listing.text}` lists none")
        stood_on = {parent for line in _LINE.finditer(output) for parent in (line["parents"] or "").split(", ")}
        ends = sorted(migration.name for migration in found if migration.name not in stood_on)
        return Listing(in_order(reversed(found)), ", ".join(ends) if len(ends) > 1 else "")

    def forward(self, revision: str, at: str) -> tuple[Work, ...]:  # noqa: ARG002 - Alembic knows
        """Implement Tool."""
        return (self._said(f"upgrade {shlex.quote(revision)}"),)

    def back(self, revision: str, at: str) -> tuple[Work, ...]:  # noqa: ARG002 - as above
        """Implement Tool."""
        return (self._said(f"downgrade {shlex.quote(revision)}"),)

    def judge(self, status: int, output: str) -> tuple[Models, str]:
        """Implement Tool."""
        if status == 0:
            return "same", ""
        if found := re.search(r"New upgrade operations detected: (.*)", output):
            return "differ", re.sub(r"\), (?=[(\[])", ")\n", found[1].removeprefix("[").removesuffix("]"))
        if "MetaData object" in output:
            return "not compared", "env.py has no target_metadata"
        if "invalid choice: 'check'" in output:
            return "not compared", "`alembic check` requires Alembic 1.9 or later"
        return "failed", output


def _migration(line: re.Match[str]) -> Migration:
    parents = [name for group in (line["parents"], line["needs"]) if group for name in group.split(", ")]
    return Migration(line["name"], tuple(parents))
