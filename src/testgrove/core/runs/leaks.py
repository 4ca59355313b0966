"""Leaks: what is there after an attempt, was not there before, and belongs to nobody any more."""

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
    """Something that can be left behind. name: what tells it from others of its kind; detail: whose it is, where."""

    kind: LeakKind
    name: str
    detail: str = ""


def leaks(before: Iterable[Thing], after: Iterable[Thing], owned: Container[str] = ()) -> tuple[Thing, ...]:
    """What an attempt left. owned: names of what has an owner. Each thing is told once, at most SHOWN of a kind."""
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
