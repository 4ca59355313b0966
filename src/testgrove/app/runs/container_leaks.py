"""Containers that attempts leave behind: assigns new ones to attempts, once no other attempt can be using them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from testgrove.core.runs.container_owner import AttemptInterval, Container, goes_by_itself, suspects, told_as
from testgrove.errors import TestgroveError
from testgrove.system.containers import VARIABLES, Engine, find_engine

Told = tuple[AttemptInterval, str, str]  # who has left it, its name, a detail


class EngineWatch:
    """The containers of one engine. Those that exist when this is created are no leaks."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._known = set(engine.ids())
        self._intervals: list[AttemptInterval] = []
        self._open: dict[str, tuple[Container, list[AttemptInterval]]] = {}  # new ones, and who may have started them
        self._guard = threading.Lock()

    def enter(self, interval: AttemptInterval) -> None:
        """An attempt begins."""
        with self._guard:
            self._intervals.append(interval)

    def look(self) -> Iterator[Told]:
        """Return what ended attempts have left behind. Raises TestgroveError where the engine does not answer."""
        began = time.time()
        there = self._engine.ids()
        new = self._engine.describe(there - self._known - self._open.keys())
        with self._guard:
            intervals = list(self._intervals)
            self._intervals = [interval for interval in intervals if interval.ended is None or interval.ended > began]
        for container in new:
            self._open[container.id] = (container, suspects(container, intervals, self._engine.slack))
        self._known &= there
        self._open = {key: found for key, found in self._open.items() if key in there}
        yield from self._told()

    def _told(self) -> Iterator[Told]:
        containers = [container for container, _ in self._open.values()]
        for container, who in list(self._open.values()):
            if who and (goes_by_itself(container, containers) or any(interval.ended is None for interval in who)):
                continue
            del self._open[container.id]
            self._known.add(container.id)
            if who:
                yield (who[0], *told_as(container, who))


class ContainerWatch:
    """The containers of all engines that attempts speak to."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._engines: dict[str, EngineWatch] = {}  # by the engine's id
        self._known: dict[tuple[str | None, ...], EngineWatch | None] = {}  # by the variables that select the engine

    def engine_of(self, environ: Mapping[str, str]) -> EngineWatch | None:
        """Watch the engine of an environment from now on; return None if no engine answers."""
        key = tuple(environ.get(name) for name in VARIABLES)
        with self._guard:
            if key not in self._known:
                self._known[key] = self._find(key, environ)
            return self._known[key]

    def enter(self, interval: AttemptInterval, environ: Mapping[str, str]) -> None:
        """An attempt begins, in an environment."""
        if (engine := self.engine_of(environ)) is not None:
            engine.enter(interval)

    def look(self) -> Iterator[Told]:
        """Return what ended attempts have left behind."""
        for engine in list(self._engines.values()):
            try:
                yield from engine.look()
            except TestgroveError:
                continue  # what cannot be checked is not reported as a leak

    def _find(self, key: tuple[str | None, ...], environ: Mapping[str, str]) -> EngineWatch | None:
        engine = find_engine(environ)
        if engine is None:
            return None
        name = engine.id or repr(key)
        if name not in self._engines:
            try:
                self._engines[name] = EngineWatch(engine)
            except TestgroveError:
                return None
        return self._engines[name]


def interval_of(cell: str, attempt: int, folders: tuple[Path, ...]) -> AttemptInterval:
    """An attempt that begins now."""
    return AttemptInterval(cell, attempt, tuple(folder.resolve() for folder in folders), time.time())
