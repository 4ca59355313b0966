"""The processes that listen on TCP ports of this network namespace, as the kernel lists them."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path

from testgrove.core.frozen import frozen
from testgrove.system.connections import listening_ports

_TABLES = ("/proc/net/tcp", "/proc/net/tcp6")
_LISTEN = "0A"


@frozen
class Listener:
    """A process that holds a listening socket. pid: None where the kernel hides it (another user's); uid: the
    socket's owner."""

    port: int
    pid: int | None
    uid: int
    command: str = ""

    def __str__(self) -> str:
        return f"a process of user {self.uid}" if self.pid is None else f"pid {self.pid} (`{self.command}`)"

    @property
    def ending(self) -> str:
        """The command that ends it."""
        return f"sudo fuser -k {self.port}/tcp" if self.pid is None else f"kill {self.pid}"

    def works_in(self, folder: Path) -> bool:
        """Return whether it runs in this folder, or its command line names something there."""
        if self.pid is None:
            return False
        with suppress(OSError):
            if Path(f"/proc/{self.pid}/cwd").readlink().is_relative_to(folder):
                return True
        return f"{folder}/" in self.command

    def descends_from(self, ancestor: int) -> bool:
        """Return whether it is a process, or comes from it. Below a supervisor, which adopts daemons, nothing is
        missed."""
        pid = self.pid or 0
        while pid not in (0, ancestor):
            pid = _parent(pid)
        return pid == ancestor


def listeners(port: int) -> list[Listener]:
    """Return all listeners on the port, on any address of this machine; includes each holder of a shared socket."""
    sockets = dict(_sockets(port))
    if not sockets:
        return []
    found: list[Listener] = []
    seen: set[int] = set()
    for pid, inode in _holders(sockets.keys()):
        seen.add(inode)
        found.append(Listener(port, pid, sockets[inode], _command(pid)))
    hidden = sockets.keys() - seen
    return sorted(set(found), key=lambda each: each.pid or 0) + [Listener(port, None, sockets[each]) for each in hidden]


def listening_among(ports: Collection[int]) -> set[int]:
    """Return those of the ports that have a listener. Takes less than a millisecond: does not look up processes."""
    known = listening_ports() if ports else set()
    if known is not None:
        return known.intersection(ports)
    wanted = {f"{port:04X}": port for port in ports}
    found: set[int] = set()
    for table in _TABLES:
        with suppress(FileNotFoundError), open(table, encoding="ascii") as file:  # noqa: PTH123 - once for each attempt
            for line in file:
                fields = line.split()
                port = wanted.get(fields[1].rpartition(":")[2])
                if port is not None and fields[3] == _LISTEN:
                    found.add(port)
    return found


def _sockets(port: int) -> Iterator[tuple[int, int]]:
    """The inode and the owner of each listening socket."""
    ending = f":{port:04X}"
    for table in _TABLES:
        with suppress(FileNotFoundError), open(table, encoding="ascii") as file:  # noqa: PTH123 - read many times a second
            for line in file:
                fields = line.split()
                if fields[3] == _LISTEN and fields[1].endswith(ending):
                    yield int(fields[9]), int(fields[7])


def _holders(inodes: Collection[int]) -> Iterator[tuple[int, int]]:
    """The processes that have one of these sockets open, and which."""
    wanted = {f"socket:[{inode}]": inode for inode in inodes}
    for name in os.listdir("/proc"):  # noqa: PTH208 - a Path for each process would double the time
        if not name.isdigit():
            continue
        with suppress(OSError):  # it has ended, or belongs to another user
            for descriptor in os.scandir(f"/proc/{name}/fd"):
                with suppress(OSError):
                    inode = wanted.get(os.readlink(descriptor.path))  # noqa: PTH115 - as above
                    if inode is not None:
                        yield int(name), inode


def _parent(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123 - as above
            return int(file.read().rpartition(b")")[2].split()[1])
    except OSError:
        return 0


def _command(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:  # noqa: PTH123 - as above
            words = b" ".join(file.read().replace(b"\0", b" ").split())  # one line, also for a script of `sh -c`
    except OSError:
        return ""
    return words.decode(errors="replace")[:200]
