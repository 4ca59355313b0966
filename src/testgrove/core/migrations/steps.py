"""A project's migrations in order, and the steps in which a database can be taken forward and back through them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from graphlib import TopologicalSorter

from testgrove.core.frozen import frozen


@frozen
class Migration:
    """One migration.

    name: as the tool accepts it. parents: names of the migrations it depends on. app: its sequence, if the tool has
    several. branch: as app, where names are unique without it. ours: it belongs to the project, not to a library."""

    name: str
    parents: tuple[str, ...] = ()
    app: str = ""
    ours: bool = True
    branch: str = ""

    @property
    def shown(self) -> str:
        """Its name for people."""
        return f"{self.app}.{self.name}" if self.app else self.name

    @property
    def sequence(self) -> str:
        """The sequence it belongs to; empty where the tool has one only."""
        return self.app or self.branch

    @property
    def key(self) -> tuple[str, str]:
        """Return its unique key."""
        return self.sequence, self.name


@frozen
class Step:
    """Migrations between two states that a tool can migrate to.

    before, after: the newest migration of each sequence in that state; an empty name means none."""

    migrations: tuple[Migration, ...]
    before: tuple[tuple[str, str], ...]
    after: tuple[tuple[str, str], ...]

    @property
    def name(self) -> str:
        """For people: its last migration, and how many others go with it."""
        more = len(self.migrations) - 1
        return self.migrations[-1].shown + (f" (and {more} before it)" if more else "")

    @property
    def ours(self) -> bool:
        """Whether any of them is the project's."""
        return any(migration.ours for migration in self.migrations)


def in_order(migrations: Iterable[Migration]) -> tuple[Migration, ...]:
    """Return the migrations in topological order, otherwise unchanged. Raises graphlib.CycleError."""
    known = {migration.name: migration for migration in migrations}
    graph = {name: [parent for parent in each.parents if parent in known] for name, each in known.items()}
    return tuple(known[name] for name in TopologicalSorter(graph).static_order())


def steps(plan: Sequence[Migration]) -> tuple[Step, ...]:
    """Return the steps through a plan, which is in order and has one head for each sequence.

    A tool can migrate to a migration, forward and back, if each other migration is its ancestor or descendant. So
    branches that are merged again are one step. Consecutive migrations of libraries are also one step.
    """
    whole = _checkpoints(plan)
    found: list[Step] = []
    at: dict[str, str] = {}
    group: list[Migration] = []
    for number, migration in enumerate(plan):
        group.append(migration)
        last = {each.sequence: each for each in group}
        following = plan[number + 1] if number + 1 < len(plan) else None
        if not all(each.key in whole for each in last.values()):
            continue
        if following is not None and not migration.ours and not following.ours:
            continue
        before = tuple((app, at.get(app, "")) for app in last)
        after = tuple((app, each.name) for app, each in last.items())
        found.append(Step(tuple(group), before, after))
        at |= dict(after)
        group = []
    return tuple(found)


def _checkpoints(plan: Sequence[Migration]) -> set[tuple[str, str]]:
    """Return the migrations that are an ancestor or a descendant of every other one of their sequence."""
    below: dict[tuple[str, str], set[tuple[str, str]]] = {}
    for migration in plan:
        own = {(migration.sequence, parent) for parent in migration.parents}
        below[migration.key] = own.union(*(below.get(key, set()) for key in own))
    keys = [migration.key for migration in plan]
    return {key for key in keys if all(o == key or o in below[key] or key in below[o] for o in keys if o[0] == key[0])}
