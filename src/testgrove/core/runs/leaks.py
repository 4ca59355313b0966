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


class TrackedResource(NamedTuple):
    """Something that can be left behind. name: unique within its kind. detail: its owner and location."""

    kind: LeakKind
    name: str
    detail: str = ""


def leaks(
    before: Iterable[TrackedResource], after: Iterable[TrackedResource], owned: Container[str] = ()
) -> tuple[TrackedResource, ...]:
    """Return what an attempt left behind. owned: names of resources with an owner. Reports at most SHOWN of a kind."""
    known = {(resource.kind, resource.name) for resource in before}
    found: dict[tuple[str, str], TrackedResource] = {}
    counts: dict[str, int] = {}
    for resource in after:
        key = (resource.kind, resource.name)
        if key in known or key in found or resource.name in owned or counts.get(resource.kind, 0) >= SHOWN:
            continue
        found[key] = resource
        counts[resource.kind] = counts.get(resource.kind, 0) + 1
    return tuple(found.values())
