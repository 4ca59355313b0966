"""The capacity of this machine or container."""

from __future__ import annotations

import math
import os
from contextlib import suppress
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")
MEMORY_FOR_A_JOB = 768 * 1024**2


def default_jobs() -> int:
    """Return the default number of cells at once: one for each available CPU, limited by free memory."""
    by_memory = available_memory() // MEMORY_FOR_A_JOB
    return max(1, min(usable_cpus(), by_memory))


def usable_cpus() -> int:
    """CPUs by affinity, further limited by a cgroup's quota."""
    cpus = len(os.sched_getaffinity(0))
    quota = _read(_CGROUP / "cpu.max").split()
    if len(quota) == 2 and quota[0].isdigit():
        return max(1, min(cpus, math.ceil(int(quota[0]) / int(quota[1]))))
    return cpus


def available_memory() -> int:
    """Bytes that can be used without swapping, by the kernel's estimate, further limited by a cgroup."""
    available = 2**62
    for line in _read(Path("/proc/meminfo")).splitlines():
        if line.startswith("MemAvailable:"):
            available = int(line.split()[1]) * 1024
    limit, used = _read(_CGROUP / "memory.max").strip(), _read(_CGROUP / "memory.current").strip()
    if limit.isdigit() and used.isdigit():
        available = min(available, int(limit) - int(used))
    return available


def lower_priority(pid: int, nice: int) -> None:
    """Lower a process's priority to this niceness; does nothing if it has ended or belongs to another user."""
    with suppress(ProcessLookupError, PermissionError):
        os.setpriority(os.PRIO_PROCESS, pid, nice)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except OSError:
        return ""
