"""Locks die with their holder, and only with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest

from testgrove.errors import PreconditionError
from testgrove.system.locks import LockFile, exclusive

HOLD = """
import subprocess, sys
from pathlib import Path
from testgrove.system.locks import LockFile
lock = LockFile(Path(sys.argv[1])).try_acquire(sys.argv[2])
child = subprocess.Popen(["sleep", "60"])
print("held" if lock else "taken", child.pid, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def locks(tmp_path):
    return LockFile(tmp_path / "locks")


def test_a_key_has_one_holder_and_other_keys_are_free(locks):
    lock = locks.try_acquire("a")
    assert lock is not None
    assert locks.try_acquire("a") is None
    assert locks.is_held("a")
    assert not locks.is_held("b")
    lock.release()
    assert not locks.is_held("a")


def test_a_lock_dies_with_its_process_though_a_child_lives(locks):
    command = [sys.executable, "-c", HOLD, locks.path, "a"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        said, child = holder.stdout.readline().split()
        try:
            assert said == "held"
            assert locks.is_held("a")
            holder.send_signal(signal.SIGKILL)
            holder.wait()  # not communicate(): the child keeps the pipe open
            assert not locks.is_held("a")
        finally:
            os.kill(int(child), signal.SIGTERM)


def test_waiting_tells_why_and_ends(tmp_path):
    told: list[str] = []

    def wait() -> None:
        with exclusive(tmp_path / "l", what="the git lock", timeout=0.05, on_wait=told.append):
            pass

    with exclusive(tmp_path / "l", what="the git lock"), pytest.raises(PreconditionError, match="the git lock"):
        wait()
    assert told == ["waiting for the git lock"]


def test_who_is_told_why_it_waits_can_give_up(locks):
    told: list[str] = []

    def give_up(reason: str) -> None:
        told.append(reason)
        if len(told) == 3:
            raise PreconditionError("cancelled", "no more")

    def wait() -> None:
        with locks.hold("a", what="the key", timeout=60, on_wait=give_up):
            pass

    with locks.hold("a", what="the key", timeout=60), pytest.raises(PreconditionError, match="no more"):
        wait()
    assert told == ["waiting for the key"] * 3


def test_threads_take_turns(locks):
    inside, most = 0, 0

    def work():
        nonlocal inside, most
        for _ in range(20):
            with locks.hold("a", what="a", timeout=30):
                inside += 1
                most = max(most, inside)
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
