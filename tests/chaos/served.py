"""Commands about a worktree with a Redis database, whose keeper or server is killed among them; and a killed broker."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from random import Random

import psutil

from auditor import is_marked
from chaos import judge
from chaos.actors import Actor
from chaos.world import World
from grove import Grove, keepers

CREATE = ("create", "--purpose", "test-unit", "--branch", "main", "--identifier")
COMMANDS = {
    "create": (*CREATE, "second"),
    "remove": ("remove", "test-unit-served"),
    "sync": ("sync", "test-unit-served"),
    "list": ("services", "list"),
    "stop": ("services", "stop"),
    "doctor": ("doctor", "--fix"),
    "reset": ("db", "reset", "test-unit-served"),
}


@dataclass(frozen=True)
class Attack:
    """victims: ``keeper``, ``server``, or both; or ``broker``, which is the command itself.

    delay: seconds after the command has begun; negative for before it.
    """

    command: str
    victims: tuple[str, ...]
    delay: float

    def __str__(self) -> str:
        return f"{self.command} with a database; {' and '.join(self.victims)} killed {self.delay:+.3f} s from its start"


def choose(source: Random) -> Attack:
    """A random one."""
    if source.random() < 0.15:
        return Attack("broker", ("broker",), source.uniform(0.0, 0.4))
    victims = source.choice((("keeper",), ("server",), ("keeper", "server"), ("server", "keeper")))
    delay = source.choice((-1.0, source.uniform(0.0, 0.4)))
    return Attack(source.choice(sorted(COMMANDS)), victims, delay)


def perform(world: World, attack: Attack) -> None:
    """Make a worktree with a database, attack, and judge: everything can be had again and be removed."""
    served = world.served
    world.must(*CREATE, "served", where=served)
    if attack.command == "broker":
        judge.documented([killed_broker(world, attack.delay)])
    else:
        if attack.delay < 0:
            kill(served, attack.victims)
        actor = world.begin(*COMMANDS[attack.command], where=served)
        if attack.delay >= 0:
            time.sleep(attack.delay)
            kill(served, attack.victims)
        actor.wait()
        judge.documented([actor])
    judge.other_goes_on(world)
    for name in [each["id"] for each in json.loads(world.must("list", "--json", where=served).out)["worktrees"]]:
        world.must("remove", name, where=served)
    end(keepers(world.base))
    world.auditor().assert_no_leftovers(within=5.0)
    judge.users_is_there(world)
    assert not judge.stored(world), "the store holds what nobody owns"


def killed_broker(world: World, delay: float) -> Actor:
    """A broker of a session that has not ended, killed after so many seconds."""
    with subprocess.Popen(["sleep", "60"]) as session:
        broker = world.begin("broker", "--session", str(session.pid), where=world.served)
        time.sleep(delay)
        os.kill(broker.pid, signal.SIGKILL)
        broker.wait()
        session.kill()
    return broker


def kill(grove: Grove, victims: Iterable[str]) -> None:
    """Kill keepers, or the servers that they hold."""
    found = keepers(grove.base)
    servers = [child for keeper in found for child in _descendants(keeper) if is_marked(child.pid)]
    for victim in victims:
        for process in found if victim == "keeper" else servers:
            with suppress(psutil.Error):
                process.kill()


def end(found: Iterable[psutil.Process]) -> None:
    """End keepers as a service manager does."""
    for keeper in found:
        with suppress(psutil.Error):
            keeper.terminate()
            keeper.wait(20)


def _descendants(keeper: psutil.Process) -> list[psutil.Process]:
    with suppress(psutil.Error):
        return keeper.children(recursive=True)
    return []
