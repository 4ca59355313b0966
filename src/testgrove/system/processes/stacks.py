"""Asks Python processes for their stacks; see the pytest plugin's module of the same name."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from testgrove.system.processes.process_tree import children, describe, read, send

_TURN = 0.01  # seconds in which a process writes its stacks


def ask(roots: Iterable[int], number: int) -> None:
    """Send a signal to each process below these that has a handler for it; others would die of it.

    One after the other, parents first: a forked process writes to its parent's file."""
    for pid in _below(roots):
        if number and _status(pid, "SigCgt", 16) >> (number - 1) & 1:
            send(pid, number)
            time.sleep(_TURN)


def processes(roots: Iterable[int]) -> list[str]:
    """Describe the processes below these, each with its state."""
    return [f"{describe(pid)} ({_state(pid)})" for pid in _below(roots)]


def written(folder: Path) -> list[str]:
    """Return what the processes of a session have written, each process's stacks as one text."""
    texts = []
    for path in sorted(folder.glob("stacks-*.txt")):
        with suppress(OSError):
            texts.append(path.read_text(encoding="utf-8", errors="replace"))
    return [text for text in texts if text]


def _below(roots: Iterable[int]) -> Iterator[int]:
    parents = list(roots)
    while parents:
        for pid in children(parents.pop()):
            yield pid
            parents.append(pid)


def _status(pid: int, field: str, base: int) -> int:
    for line in read(f"/proc/{pid}/status").decode(errors="replace").splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1], base)
    return 0


def _state(pid: int) -> str:
    for line in read(f"/proc/{pid}/status").decode(errors="replace").splitlines():
        if line.startswith("State:"):
            return line.partition("(")[2].rstrip(")") or "unknown"
    return "ended"
