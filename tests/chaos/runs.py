"""One run after the other, in a world that each leaves as it was."""

from __future__ import annotations

import contextlib
import datetime as dt
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable
from random import Random

from chaos import judge, served
from chaos.actors import Actor
from chaos.effects import read
from chaos.faults import Effect
from chaos.plans import COMMANDS, OUTPUT, Plan, folder_gone, plan
from chaos.world import World, make
from testgrove.app.worktrees import creation


class Chaos:
    """Runs plans, each judged."""

    def __init__(self, *, verbose: bool = False) -> None:
        self._patch: Callable[[], None] | None = None
        self._verbose = verbose
        self._world: World | None = None
        self._met: Counter[str] = Counter()
        self._counted = self._count()

    def break_by(self, patch: Callable[[], None] | None) -> None:
        """From now on this is called first in the process of every command."""
        self._patch = patch
        if self._world is not None:
            self._world.patch = patch

    def close(self) -> None:
        """Take the world away."""
        if self._world is not None:
            self._world.close()
            self._world = None

    def run(self, seed: str) -> str:
        """One run; what was violated in it, or nothing."""
        world = self._world = self._world or make(self._patch)
        chosen = plan(Random(seed), self._counted, mounts=bool(world.mounts))
        if self._verbose:
            sys.stdout.write(f"{seed}  {chosen}\n")
            sys.stdout.flush()
        try:
            self._perform(world, chosen)
        except Exception as error:  # noqa: BLE001 - a violation of whatever kind
            self.close()
            said = str(error) if isinstance(error, AssertionError) else repr(error)
            return f"{seed}  {chosen}\n{said if self._verbose else shortened(said)}"
        return ""

    def summary(self) -> str:
        """How often each kind of fault was met."""
        return ", ".join(f"{name} {number}" for name, number in sorted(self._met.items()))

    def _count(self) -> dict[str, list[Effect]]:
        """What each command does where nothing goes wrong."""
        world, counted = make(), {}
        for name, command in COMMANDS.items():
            command.prepare(world)
            counted[name] = read(world.log(world.run(*command.words)))
            judge.finish(world, judge.verdict(world))
        world.close()
        return counted

    def _perform(self, world: World, chosen: Plan) -> None:
        if chosen.attack:
            self._met.update(f"{victim} killed" for victim in chosen.attack.victims)
            served.perform(world, chosen.attack)
            return
        prepared = dict.fromkeys(COMMANDS[name].prepare for name in chosen.commands)
        for prepare in prepared:
            if not world.tree.exists() and not chosen.apart:
                prepare(world)
        limited = world.limited(*chosen.limit) if chosen.limit else contextlib.nullcontext()
        if chosen.later:
            judge.documented(self._act(world, chosen))
        with limited:
            actors = [] if chosen.later else self._act(world, chosen)
            judge.documented(actors)
            for actor in actors if chosen.apart else ():
                assert actor.returncode == 0, actor.said()
            if not (chosen.limit and chosen.limit[0] == "state"):
                judge.other_goes_on(world)
        if chosen.again:
            name, fault = chosen.again
            again = world.run(*COMMANDS[name].words, faults=(fault,))
            self._met[fault.kind] += 1
            judge.documented([again])
            judge.other_goes_on(world)
        there = judge.verdict(world, failing=chosen.has_failing_calls, gone=folder_gone in prepared)
        if len(chosen.commands) == 1 and chosen.commands[0] in ("remove-outputs", "cleanup"):
            kept = [world.tree / "junit.xml", *world.grove.artifacts.glob("test-unit-x/junit*.xml")]
            assert {path.read_text() for path in kept if path.exists()} == {OUTPUT}, "outputs of tests are lost"
        judge.finish(world, there)
        for path in world.grove.artifacts.glob("test-unit-x/junit*.xml"):
            path.unlink()

    def _act(self, world: World, chosen: Plan) -> list[Actor]:
        """The commands of a plan, at once."""

        def before() -> None:
            if chosen.files:
                resource.setrlimit(resource.RLIMIT_NOFILE, (chosen.files, chosen.files))
            if chosen.limit:
                creation.FREE_BYTES = 0  # else a small file system is refused before anything is written to it
            if chosen.clock:
                shift_clock(chosen.clock)

        actors = []
        for index, fault in enumerate(chosen.faults):
            actors.append(world.begin(*chosen.words(index), faults=(fault,) if fault else (), before=before))
            self._met[fault.kind if fault else (chosen.limit[1] if chosen.limit else "none")] += 1
        for actor in actors:
            actor.wait()
        return actors


def shortened(text: str, first: int = 3, last: int = 12) -> str:
    """The beginning and the end of a long message."""
    lines = text.strip().splitlines()
    return "\n".join(lines if len(lines) <= first + last else [*lines[:first], "…", *lines[-last:]])


def shift_clock(seconds: float) -> None:
    """In this process it is so many seconds later, or earlier."""
    now = time.time
    time.time = lambda: now() + seconds

    class Shifted(dt.datetime):
        @classmethod
        def now(cls, tz: dt.tzinfo | None = None) -> dt.datetime:
            return dt.datetime.now(tz) + dt.timedelta(seconds=seconds)

    for name, module in list(sys.modules.items()):
        if name.startswith("testgrove.") and getattr(module, "datetime", None) is dt.datetime:
            module.datetime = Shifted
