"""What one run does: a command of a world, the fault in the middle of it, and what comes after. Made from a seed."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random

from chaos import served
from chaos.faults import AFTER, SIGNALS, Effect, Fault, choose
from chaos.world import World

OUTPUT = "<testsuites/>\n"
CREATE = ("create", "--purpose", "test-unit", "--identifier", "x", "--no-env")
ACTORS = (2, 2, 16)
PLACES = {"state": 2, "root": 3, "repository": 2}  # how often each is the file system that is full or read-only
NOFILE = (8, 12, 16, 24, 40, 64)
CLOCKS = (-400 * 86400.0, -3600.0, 3600.0, 400 * 86400.0)


def nothing(_world: World) -> None:
    """Make nothing first."""


def ready(world: World) -> None:
    world.stage("x")


def parked(world: World) -> None:
    world.stage("x", parked=True)


def with_outputs(world: World) -> None:
    ready(world)
    (world.tree / "junit.xml").write_text(OUTPUT)


def outdated(world: World) -> None:
    ready(world)
    (world.grove.repo / ".env.local").write_text(f"KEY={world.count}\n")


def folder_gone(world: World) -> None:
    ready(world)
    shutil.rmtree(world.tree)


@dataclass(frozen=True)
class Command:
    """words: as the user types it. prepare: makes what it needs. weight: how often it is chosen."""

    words: tuple[str, ...]
    prepare: Callable[[World], None] = nothing
    weight: int = 1


COMMANDS: Mapping[str, Command] = {
    "create": Command((*CREATE, "--branch", "main", "--ports"), weight=3),
    "create-branch": Command((*CREATE, "--branch", "fresh", "--new-branch", "--ports"), weight=3),
    "create-on-branch": Command((*CREATE, "--branch", "topic")),
    "recycle": Command((*CREATE, "--branch", "topic", "--ports"), parked, weight=3),
    "remove": Command(("remove", "test-unit-x"), ready, weight=3),
    "remove-outputs": Command(("remove", "test-unit-x"), with_outputs, weight=2),
    "remove-forced": Command(("remove", "test-unit-x", "--force"), with_outputs),
    "remove-theirs": Command(("remove", "test-unit-theirs"), weight=1),
    "remove-gone": Command(("remove", "test-unit-x"), folder_gone),
    "cleanup": Command(("cleanup", "--max-age", "0", "--yes"), with_outputs, weight=3),
    "sync": Command(("sync", "test-unit-x"), outdated, weight=2),
    "sync-theirs": Command(("sync", "test-unit-theirs")),
    "doctor": Command(("doctor", "--fix"), folder_gone),
    "ports": Command(("ports", "reassign", "test-unit-x"), ready),
    "list": Command(("list",), ready),
    "exec": Command(("exec", "test-unit-x", "--", "true"), ready),
    "test": Command(("test",), nothing, weight=1),
}
KINDS = {
    "fault": 50,
    "again": 20,
    "limit": 10,
    "later": 6,
    "files": 4,
    "clock": 4,
    "actors": 8,
    "apart": 4,
    "served": 4,
}
Counted = Mapping[str, Sequence[Effect]]


@dataclass(frozen=True)
class Plan:
    """commands: the one that the fault is for, or actors that all run at once, each with its fault or none.

    again: the command that recovers, killed or failing as well. apart: each actor has a worktree of its own.
    limit: (place, what, how much is left). later: it holds for the recovery, and not for the commands.
    files: descriptors. clock: seconds.
    """

    commands: tuple[str, ...]
    faults: tuple[Fault | None, ...] = ()
    again: tuple[str, Fault] | None = None
    limit: tuple[str, str, int] | None = None
    later: bool = False
    files: int = 0
    clock: float = 0.0
    apart: bool = False
    attack: served.Attack | None = None

    @property
    def has_failing_calls(self) -> bool:
        """Whether calls fail, so that what is no more than a view or an empty folder may wait for the next change."""
        faults = [*self.faults, self.again[1] if self.again else None]
        return bool(self.limit or self.files) or any(fault and fault.kind not in SIGNALS for fault in faults)

    def words(self, index: int) -> tuple[str, ...]:
        """What the user types for one of the commands."""
        words = COMMANDS[self.commands[index]].words
        return tuple(f"x{index}" if self.apart and word == "x" else word for word in words)

    def __str__(self) -> str:
        if self.attack:
            return str(self.attack)
        words = [
            f"{name}{f' [{fault}]' if fault else ''}" for name, fault in zip(self.commands, self.faults, strict=True)
        ]
        said = [" & ".join(words)]
        said += [f"then {self.again[0]} [{self.again[1]}]"] if self.again else []
        when = " for the recovery" if self.later else ""
        said += ["{}: {}, {} left".format(*self.limit) + when] if self.limit else []
        said += ["each in a worktree of its own"] if self.apart else []
        said += [f"{self.files} descriptors"] if self.files else []
        said += [f"clock {self.clock:+g} s"] if self.clock else []
        return "; ".join(said)


def plan(source: Random, counted: Counted, *, mounts: bool) -> Plan:
    """A random plan. counted: what each command does when nothing goes wrong; mounts: whether there are small file
    systems."""
    name = source.choices(list(COMMANDS), [each.weight for each in COMMANDS.values()])[0]
    weights = {**KINDS, "limit": KINDS["limit"] * mounts, "later": KINDS["later"] * mounts}
    kind = source.choices(tuple(weights), tuple(weights.values()))[0]
    if kind == "later":
        effects = [each for each in counted[name] if each.gateway == "store"]
        killed = Fault(source.choice(effects).number, "store", AFTER, "kill") if effects else None
        return Plan((name,), (killed,), limit=(source.choice(list(PLACES)), "read-only", 0), later=True)
    if kind == "limit":
        place = source.choices(list(PLACES), list(PLACES.values()))[0]
        what = source.choice(("space", "inodes", "read-only"))
        return Plan((name,), (None,), limit=(place, what, source.choice((0, 1, 2, 4, 8, 16, 32, 64))))
    if kind == "served":
        return Plan((), attack=served.choose(source))
    if kind == "files":
        return Plan((name,), (None,), files=source.choice(NOFILE))
    if kind == "clock":
        return Plan((name,), (None,), clock=source.choice(CLOCKS))
    if kind == "apart":
        number = source.choice(ACTORS)
        return Plan(("create",) * number, (None,) * number, apart=True)
    if kind == "actors":
        number = source.choice(ACTORS)
        names = source.choices(list(COMMANDS), [each.weight for each in COMMANDS.values()], k=number)
        names = [each for each in names if each not in ("doctor", "remove-gone", "test")] or ["list"]
        some = [choose(source, counted[each]) if source.random() < 0.3 else None for each in names]
        return Plan(tuple(names), tuple(some))
    again = None
    if kind == "again":
        then = source.choice((name, "list", "doctor"))
        again = then, choose(source, counted[then])
    return Plan((name,), (choose(source, counted[name]),), again)
