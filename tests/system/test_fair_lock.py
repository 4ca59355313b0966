"""Turns: shared or alone, nobody starves, and a holder that dies lets go."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time

import pytest

from testgrove.system.fair_lock import FairLock

HOLD = """
import signal, sys
from pathlib import Path
from testgrove.system.fair_lock import FairLock
lock = FairLock(Path(sys.argv[1]))
print(lock.try_take(exclusive=sys.argv[2] == "exclusive"), flush=True)
signal.pause()
"""


@pytest.fixture
def lock(tmp_path):
    """Makes turns at one lock; all are released afterwards."""
    made = []

    def make() -> FairLock:
        made.append(FairLock(tmp_path / "lock"))
        return made[-1]

    yield make
    for each in made:
        each.release()


def test_any_number_share_and_one_is_alone(lock):
    readers, writer = [lock() for _ in range(3)], lock()
    assert all(reader.try_take(exclusive=False) for reader in readers)
    assert not writer.try_take(exclusive=True)
    for reader in readers:
        reader.release()
    assert writer.try_take(exclusive=True)
    for exclusive in (True, False):
        other = lock()
        assert not other.try_take(exclusive=exclusive)
        other.release()
    writer.release()
    writer.release()
    assert readers[0].try_take(exclusive=False)


def test_who_waits_for_the_exclusive_side_is_not_overtaken(lock):
    first, late, writer = lock(), lock(), lock()
    assert first.try_take(exclusive=False)
    assert not writer.try_take(exclusive=True)
    assert not late.try_take(exclusive=False), "the one that waits stands in the gate"
    first.release()
    assert not late.try_take(exclusive=False)
    assert writer.try_take(exclusive=True)
    assert not late.try_take(exclusive=False)
    writer.release()
    assert late.try_take(exclusive=False)


def test_who_gives_up_leaves_the_gate(lock):
    reader, writer = lock(), lock()
    assert reader.try_take(exclusive=False)
    assert not writer.try_take(exclusive=True)
    writer.release()
    assert lock().try_take(exclusive=False)


@pytest.mark.parametrize("side", ["shared", "exclusive"])
def test_a_holder_that_is_killed_lets_go(lock, tmp_path, side):
    words = [sys.executable, "-c", HOLD, tmp_path / "lock", side]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "True\n"
        other = lock()
        assert not other.try_take(exclusive=True)
        holder.send_signal(signal.SIGKILL)
    assert other.try_take(exclusive=True)


def test_everybody_gets_a_turn_and_the_exclusive_one_is_alone(lock):
    inside: list[bool] = []
    problems: list[str] = []
    turns_taken = {"shared": 0, "exclusive": 0}
    end = time.monotonic() + 0.6
    guard = threading.Lock()

    def work(*, exclusive: bool) -> None:
        mine = lock()
        while time.monotonic() < end:
            while not mine.try_take(exclusive=exclusive):
                time.sleep(0.001)
            with guard:
                if exclusive and inside:
                    problems.append("the exclusive one was not alone")
                if any(inside):
                    problems.append("somebody came in beside the exclusive one")
                inside.append(exclusive)
            time.sleep(0.002)
            with guard:
                inside.remove(exclusive)
                turns_taken["exclusive" if exclusive else "shared"] += 1
            mine.release()

    threads = [threading.Thread(target=work, kwargs={"exclusive": number < 2}) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert min(turns_taken.values()) > 3, turns_taken
