"""Alembic's commands and their output."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import replace

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
        down = {line["name"]: _names(line["parents"]) for line in _LINE.finditer(output)}
        heads = _heads(down) if self._has_heads else {}
        ordered = in_order(reversed(found))
        if len(set(heads.values())) > 1:
            ordered = tuple(replace(migration, branch=heads[migration.name]) for migration in ordered)
        parents = _parents(down)
        ends = [migration for migration in ordered if migration.name not in parents]
        several = len(ends) > len({end.branch for end in ends})
        return Listing(ordered, ", ".join(sorted(end.name for end in ends)) if several else "")

    @property
    def _has_heads(self) -> bool:
        """Whether the project's own command migrates to several heads."""
        return self.command.endswith("heads")

    def revision(self, sequence: str, name: str) -> str:
        """Implement Tool. A sequence is named by its head: `HEAD@base` is below all bases that it was merged from."""
        return name or (f"{sequence}@base" if sequence else "base")

    def forward(self, revision: str, at: str) -> tuple[Work, ...]:  # noqa: ARG002 - Alembic knows
        """Implement Tool. ``head`` means all heads where the project's own command says so."""
        word = "heads" if revision == "head" and self._has_heads else shlex.quote(revision)
        return (self._said(f"upgrade {word}"),)

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


def _names(listed: str | None) -> tuple[str, ...]:
    return tuple(listed.split(", ")) if listed else ()


def _parents(down: Mapping[str, tuple[str, ...]]) -> set[str]:
    return {parent for parents in down.values() for parent in parents}


def _heads(down: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    """Return the head above each revision; the first by name, if there are several. down: the parents of each."""
    base = {name: name for name in down}

    def root(name: str) -> str:
        while base[name] != name:
            name = base[name]
        return name

    for name, parents in down.items():
        for parent in filter(base.__contains__, parents):
            base[root(name)] = root(parent)
    heads: dict[str, str] = {}
    for name in sorted(down.keys() - _parents(down)):
        heads.setdefault(root(name), name)
    return {name: heads[root(name)] for name in down}


def _migration(line: re.Match[str]) -> Migration:
    return Migration(line["name"], (*_names(line["parents"]), *_names(line["needs"])))
