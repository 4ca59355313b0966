"""Leaks: resources that exist after an attempt, did not exist before it, and have no owner."""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import Literal, NamedTuple

LeakKind = Literal[
    "process",
    "port",
    "descriptor",
    "thread",
    "file",
    "temporary",
    "database",
    "container",
]
LeakChecks = Literal["off", "fast", "all"]
SHOWN = 50  # of each kind and attempt


class Thing(NamedTuple):
    """Something that can be left behind. name: unique within its kind. detail: its owner and location."""

    kind: LeakKind
    name: str
    detail: str = ""


def leaks(before: Iterable[Thing], after: Iterable[Thing], owned: Container[str] = ()) -> tuple[Thing, ...]:
    """Return what an attempt left behind. owned: names of things with an owner. Reports at most SHOWN of a kind."""
    known = {(thing.kind, thing.name) for thing in before}
    found: dict[tuple[str, str], Thing] = {}
    counts: dict[str, int] = {}
    for thing in after:
        key = (thing.kind, thing.name)
        if key in known or key in found or thing.name in owned or counts.get(thing.kind, 0) >= SHOWN:
            continue
        found[key] = thing
        counts[thing.kind] = counts.get(thing.kind, 0) + 1
    return tuple(found.values())
