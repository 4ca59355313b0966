"""Random faults: `python -m chaos`, or `make chaos`.

Variables: RUNS, their number; SECONDS, the time they may take; SEED, to have a run again; VERBOSE, to see each.
BUGS=all breaks testgrove instead, and each bug must be found.

For each violation it prints what happened, and how to have it again. The exit status is 1 where there is one.
"""

from __future__ import annotations

import ctypes
import gc
import os
import random
import signal
import sys
import time

from chaos.actors import preload
from chaos.bugs import BUGS, Bug
from chaos.runs import Chaos

CLONE_NEWNS, CLONE_NEWUSER = 0x00020000, 0x10000000


def own_mounts() -> None:
    """What is mounted from now on is seen by this process and its children alone."""
    libc = ctypes.CDLL(None, use_errno=True)
    if os.geteuid() == 0 and libc.unshare(CLONE_NEWNS) == 0:
        libc.mount(b"none", b"/", None, 0x44000, None)  # MS_REC | MS_PRIVATE


def main() -> int:
    """Run, and report."""
    own_mounts()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # worlds are taken away
    preload()
    gc.freeze()
    seed, _, number = (os.environ.get("SEED") or str(random.SystemRandom().randrange(10**9))).partition(":")
    first, wanted = int(number or 0), int(os.environ.get("RUNS") or (1 if number else 100))
    chaos = Chaos(verbose=bool(os.environ.get("VERBOSE")))
    seeds = [f"{seed}:{index}" for index in range(first, first + wanted)]
    try:
        if names := os.environ.get("BUGS"):
            return look_for(chaos, list(BUGS) if names == "all" else names.split(","), seeds)
        return attack(chaos, seeds, float(os.environ.get("SECONDS") or "inf"))
    finally:
        chaos.close()


def attack(chaos: Chaos, seeds: list[str], seconds: float) -> int:
    """Run with each seed, for so long."""
    began, violations, done = time.monotonic(), 0, 0
    try:
        for seed in seeds:
            if time.monotonic() - began > seconds:
                break
            violation = chaos.run(seed)
            done += 1
            if violation:
                violations += 1
                say(f"VIOLATION {violation}\n  again: make chaos SEED={seed}")
    finally:
        spent = time.monotonic() - began
        say(f"chaos: {done} runs from seed {seeds[0]} in {spent:.0f} s, {violations} violations; {chaos.summary()}")
    return int(violations > 0)


def look_for(chaos: Chaos, names: list[str], seeds: list[str]) -> int:
    """Break testgrove in each way, and run until that is found."""
    missed = 0
    for name in names:
        found = search(chaos, BUGS[name], seeds)
        missed += not found
        say(f"found {name}: {found}" if found else f"MISSED {name} in {len(seeds)} runs")
    return int(missed > 0)


def search(chaos: Chaos, bug: Bug, seeds: list[str]) -> str:
    """The first violation by a bug: by a run that violates nothing without it."""
    for seed in seeds:
        chaos.break_by(bug.checked())
        violation = chaos.run(seed)
        chaos.break_by(None)
        if violation and not chaos.run(seed):
            return violation
    return ""


def say(text: str) -> None:
    """A line for people, at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
