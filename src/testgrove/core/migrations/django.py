"""Django's migration commands and their output."""

from __future__ import annotations

import json
import re
import shlex

from testgrove.core.frozen import frozen
from testgrove.core.migrations.steps import Migration
from testgrove.core.migrations.tool import Command, Listing, Models, Work
from testgrove.errors import PreconditionError, UsageError

_MARK = "\036"
_LIST = """
import json, sys
from django.db.migrations.loader import MigrationLoader
loader = MigrationLoader(None)
plan = []
for leaf in loader.graph.leaf_nodes():
    plan += [key for key in loader.graph.forwards_plan(leaf) if key not in plan]
parents = {key: [parent.key for parent in loader.graph.node_map[key].parents] for key in plan}
file = lambda key: sys.modules[type(loader.graph.nodes[key]).__module__].__file__
print("\\x1e" + json.dumps([[*key, parents[key], file(key)] for key in plan]) + "\\x1e", end="")
print(json.dumps(loader.detect_conflicts()) + "\\x1e")
"""


@frozen
class Django:
    """start: the command up to ``migrate``; options: what follows it."""

    start: str
    options: tuple[str, ...] = ()
    name = "Django"

    @property
    def _everywhere(self) -> str:
        """The options that every command of Django's has, among those of ``migrate``."""
        kept = re.findall(r"--(?:settings|pythonpath)[= ]\S+", " ".join(self.options))
        return "".join(f" {option}" for option in kept)

    @property
    def listing(self) -> Command:
        """Implement Tool."""
        return Command(f"{self.start}shell{self._everywhere} -c {shlex.quote(_LIST)}")

    @property
    def models(self) -> Command:
        """Implement Tool."""
        return Command(f"{self.start}makemigrations{self._everywhere} --check --dry-run")

    def read(self, output: str) -> Listing:
        """Implement Tool."""
        parts = output.split(_MARK)
        if len(parts) < 4:
            raise PreconditionError("no-migrations", f"cannot parse Django's output:\n{output.strip()[-2000:]}")
        plan = [
            Migration(name, tuple(parent for where, parent in parents if where == app), app, "-packages/" not in file)
            for app, name, parents, file in json.loads(parts[1])
        ]
        if not any(migration.ours for migration in plan):
            raise PreconditionError("no-migrations", "no Django migrations of this project found")
        conflicts = json.loads(parts[2])
        names = [f"{app}.{name}" for app, found in sorted(conflicts.items()) for name in sorted(found)]
        return Listing(tuple(plan), ", ".join(names))

    def revision(self, sequence: str, name: str) -> str:
        """Implement Tool."""
        return f"{sequence}.{name or 'zero'}"

    def forward(self, revision: str, at: str) -> tuple[Work, ...]:  # noqa: ARG002 - Django knows
        """Implement Tool. A revision is ``app.0001_name``, ``app.zero``, or ``head``."""
        if revision == "head":
            return (self._migrate(""),)
        app, dot, name = revision.rpartition(".")
        if not dot:
            raise UsageError(
                "unknown-revision",
                f"invalid Django revision '{revision}'",
                hint="expected app.0001_name, app.zero or head",
            )
        return (self._migrate(f" {shlex.quote(app)} {shlex.quote(name)}"),)

    def back(self, revision: str, at: str) -> tuple[Work, ...]:
        """Implement Tool."""
        return self.forward(revision, at)

    def _migrate(self, words: str) -> Command:
        options = "".join(f" {option}" for option in self.options)
        return Command(f"{self.start}migrate{words}{options}")

    def judge(self, status: int, output: str) -> tuple[Models, str]:
        """Implement Tool."""
        if status == 0:
            return "same", ""
        if found := re.search(r"^Migrations for .*", output, re.MULTILINE | re.DOTALL):
            return "differ", found[0].strip()
        return "failed", output
