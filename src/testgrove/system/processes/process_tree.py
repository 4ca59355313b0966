"""The processes below this one, as /proc has them: who they are, where they listen, a signal for each.

Imported by supervisor.py, from its folder: standard library only, and no import that costs more than it saves.
"""
# ruff: noqa: SIM105 - contextlib costs as much as everything else that is imported
# ruff: noqa: PTH110, PTH115, PTH123, PTH208 - importing pathlib would add a third to the time that a start takes

from __future__ import annotations

import os

TYPE_CHECKING = False  # typing costs 3 ms
if TYPE_CHECKING:
    from collections.abc import Iterator

LISTEN = "0A"  # a socket's state in /proc/net/tcp
KERNEL_LISTS_CHILDREN = os.path.exists(f"/proc/self/task/{os.getpid()}/children")


def descendants() -> Iterator[int]:
    """Return the pids of all descendants, parents before children, including zombies.

    A pid cannot be reused between this and a signal: the kernel would have to assign all other pids first.
    """
    parents = [os.getpid()]
    while parents:
        for pid in children(parents.pop()):
            yield pid
            parents.append(pid)


def children(parent: int) -> list[int]:
    """The children of all threads of a process; none when it has ended."""
    if not KERNEL_LISTS_CHILDREN:
        return [int(pid) for pid in os.listdir("/proc") if pid.isdigit() and parent_of(pid) == parent]
    found: list[int] = []
    try:
        for task in os.listdir(f"/proc/{parent}/task"):
            found += map(int, read(f"/proc/{parent}/task/{task}/children").split())
    except (FileNotFoundError, ProcessLookupError):
        pass  # it has ended
    return found


def parent_of(pid: str) -> int:
    """The parent's pid, or 0 when the process has ended."""
    fields = read(f"/proc/{pid}/stat").rpartition(b")")[2].split()
    return int(fields[1]) if fields else 0


def describe(pid: int) -> str:
    """``pid command line`` of a process."""
    words = read(f"/proc/{pid}/cmdline").rstrip(b"\0").replace(b"\0", b" ") or read(f"/proc/{pid}/comm").strip()
    return f"{pid} {words.decode(errors='replace')[:200]}"


def listening(pid: int) -> list[int]:
    """The TCP ports that a process listens on."""
    sockets = {name for name in links(f"/proc/{pid}/fd") if name.startswith("socket:")}
    if not sockets:
        return []  # most have none, and the kernel takes milliseconds for its tables
    found = set()
    for table in ("tcp", "tcp6"):
        for line in read(f"/proc/{pid}/net/{table}").decode().splitlines()[1:]:
            fields = line.split()
            if fields[3] == LISTEN and f"socket:[{fields[9]}]" in sockets:
                found.add(int(fields[1].rpartition(":")[2], 16))
    return sorted(found)


def links(folder: str) -> set[str]:
    """Where the links in a folder of /proc lead; none when the process has ended, or is another user's."""
    found: set[str] = set()
    try:
        names = os.listdir(folder)
    except OSError:
        return found
    for name in names:
        try:
            found.add(os.readlink(f"{folder}/{name}"))
        except OSError:
            pass  # closed meanwhile
    return found


def read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return b""


def send(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        pass  # gone, or another user's: then GIVE_UP ends the wait
