"""Shared memory that a killed server left in the kernel."""

from __future__ import annotations

import ctypes
from pathlib import Path


def release_shared_memory(data: Path) -> None:
    """Free what a killed server left in the kernel: one System V segment of a few bytes.

    data: its data directory. Does nothing if the segment is in use, or does not belong to that server.
    """
    try:
        lines = (data / "postmaster.pid").read_text().splitlines()
        segments = Path("/proc/sysvipc/shm").read_text().splitlines()[1:]
    except OSError:
        return
    if len(lines) < 7 or len(lines[6].split()) != 2:
        return
    for segment in segments:
        key, number, _, _, creator, _, users, *_ = segment.split()
        if [key, number] == lines[6].split() and creator == lines[0] and users == "0":
            ctypes.CDLL(None).shmctl(int(number), 0, None)  # IPC_RMID
