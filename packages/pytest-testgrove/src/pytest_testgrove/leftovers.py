"""Descriptors that a pytest process has open at its exit, and had not when its session began.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import gc
import os
import socket
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_testgrove.session import Log

SHOWN = 50
SETTLE = 0.1  # seconds for threads to end after they were asked to
# Kept open by libraries on purpose, for the whole life of a process; coverage.py closes its data file at exit.
_KEPT = ("/dev/", "/proc/", "/sys/")
_COVERAGE = ".coverage"


class Leftovers:
    """Looks twice: when it is made, and when it is asked."""

    def __init__(self) -> None:
        self._descriptors = set(_descriptors().items())
        self._threads = set(threading.enumerate())

    def report(self, log: Log) -> None:
        """Report what was opened in between and is still open, if anything."""
        if not self._found_descriptors() and not self._found_threads():
            return
        gc.collect()  # unreferenced files and sockets would close anyway
        self._settle()
        descriptors = [_describe(fd, target) for fd, target in self._found_descriptors()]
        threads = [_name(thread) for thread in self._found_threads()]
        if descriptors or threads:
            log.write("leftovers", descriptor=descriptors[:SHOWN], thread=threads[:SHOWN])

    def _found_descriptors(self) -> list[tuple[int, str]]:
        return sorted(
            (fd, target)
            for fd, target in _descriptors().items()
            if (fd, target) not in self._descriptors
            and not target.startswith(_KEPT)
            and not os.path.basename(target).startswith(_COVERAGE)  # noqa: PTH119 - a str all along
        )

    def _found_threads(self) -> list[threading.Thread]:
        return [thread for thread in threading.enumerate() if thread not in self._threads]

    def _settle(self) -> None:
        deadline = time.monotonic() + SETTLE
        for thread in self._found_threads():
            if thread is not threading.current_thread():
                thread.join(max(0.0, deadline - time.monotonic()))


def _descriptors() -> dict[int, str]:
    """Return the open descriptors, by number."""
    found = {}
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - strings
        try:
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")  # noqa: PTH115 - as above
        except OSError:
            continue  # the one that listed them
    return found


def _describe(fd: int, target: str) -> str:
    """Describe the target of a descriptor: a file's path, a socket's addresses."""
    if not target.startswith("socket:"):
        return target
    try:
        with socket.socket(fileno=os.dup(fd)) as one:
            ends = [_address(one.getsockname())]
            try:
                ends.append(_address(one.getpeername()))
            except OSError:
                listens = one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
                ends += ["listening"] if listens else []
            return f"socket {' '.join(filter(None, ends)) or 'pair'}"
    except OSError:
        return target


def _address(address: object) -> str:
    if isinstance(address, tuple):
        return ":".join(map(str, address[:2]))
    return address.decode(errors="replace") if isinstance(address, bytes) else str(address)


def _name(thread: threading.Thread) -> str:
    return f"{thread.name}{' (daemon)' if thread.daemon else ''}"
