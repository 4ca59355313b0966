"""Connections that processes below some others have open to database servers, as the kernel shows them.

A look reads the kernel's tables of sockets; only what is new there and may be a database costs more: then the
descriptors of the descendants are listed, once for all of them. Both tables are those of this network namespace.
"""

from __future__ import annotations

import os
import re
import socket
import struct
from contextlib import suppress
from ipaddress import ip_address
from typing import TYPE_CHECKING

from testgrove.core.connections.addresses import PORTS, is_loopback
from testgrove.core.frozen import frozen
from testgrove.core.lazy_pattern import lazy_pattern
from testgrove.system.processes.process_tree import children

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

_ESTABLISHED, _LISTEN = 1, 10
_SOCKET = rb"^\S+ \S+ \S+ \S+ \S+ (0[13]) +(\d+) "  # a line of /proc/net/unix, up to its path
_ANY = lazy_pattern(_SOCKET + rb"(\S[^\n]*)$", re.MULTILINE)
_DATABASES = lazy_pattern(
    _SOCKET + rb"([^\n]*(?:\.s\.PGSQL\.\d+|sql[a-z]*\.sock|(?:redis|valkey)[^/\n]*\.sock))$", re.MULTILINE
)
_SERVERS = lazy_pattern(r"(postgres|postmaster|mysqld|mariadbd|redis-server|valkey-server|keydb-server)\b")
# The kernel's sock_diag interface: 20 times as fast as /proc/net/tcp, whose reader walks all of a large hash table.
_DIAG, _BY_FAMILY, _DUMP, _ONE, _DONE, _ERROR = 4, 20, 0x301, 0x001, 3, 2
_INET = struct.Struct("=BBBBHH16s16sI8xIIIII")
_SHOW_PEER, _PEER = 4, 2


@frozen
class Connection:
    """A connection of one process. root: the process below which it was found; socket: a Unix socket's path."""

    root: int
    pid: int
    command: str
    host: str = ""
    port: int = 0
    socket: str = ""


@frozen
class _Row:
    """A connection in the kernel's table. listener: the inode of who accepted it here, 0 for another machine's."""

    inode: int
    host: str
    port: int
    listener: int


class Sampler:
    """Reports each connection once.

    ports: watched on any address, in addition to the well-known ones; more can be added later."""

    def __init__(self, ports: Iterable[int] = ()) -> None:
        self.ports = {*PORTS.values(), *ports}
        self._seen: set[int] = set()  # inodes
        self._servers: dict[int, bool] = {}  # whether a listener on this machine is a database's, by inode

    def look(self, roots: Collection[int]) -> list[Connection]:
        """Return what is new since the last look, of all processes below these, themselves not included."""
        rows, there = self._new_rows()
        accepted = {inode: path for inode, state, path in _unix(_DATABASES) if state == b"03"}
        paths = {inode: path for inode, path in accepted.items() if inode not in self._seen}
        self._seen &= there | accepted.keys()
        if not rows and not paths:
            return []
        holders = _holders(roots)
        self._classify(rows, holders)
        found = [
            Connection(*holders[row.inode], host=row.host, port=row.port)
            for row in rows
            if row.inode in holders and (row.port in self.ports or self._servers.get(row.listener))
        ]
        self._seen.update(row.inode for row in rows)
        for inode, path in paths.items():
            self._seen.add(inode)
            client = _peer(inode)
            if client in holders:
                found.append(Connection(*holders[client], socket=path))
        return found

    def _new_rows(self) -> tuple[list[_Row], set[int]]:
        """New connections that may be a database's, and the inodes of all that are there."""
        sockets = list(_tcp())
        listeners = {port: inode for state, inode, port, _, _ in sockets if state == _LISTEN}
        rows, there = [], set()
        for state, inode, _, port, peer in sockets:
            if state != _ESTABLISHED:
                continue
            there.add(inode)
            if not inode or inode in self._seen or not (port in self.ports or port in listeners):
                continue
            host = _host(peer)
            listener = listeners.get(port, 0) if is_loopback(host) else 0
            if port in self.ports or (listener and self._servers.get(listener, True)):
                rows.append(_Row(inode, host, port, listener))
        return rows, there

    def _classify(self, rows: Iterable[_Row], holders: dict[int, tuple[int, int, str]]) -> None:
        """Find the listeners that are databases; listeners of the descendants themselves are not foreign."""
        unknown = {row.listener for row in rows if row.inode in holders and row.listener} - self._servers.keys()
        self._servers.update(dict.fromkeys(unknown & holders.keys(), False))
        unknown -= holders.keys()
        if unknown:
            commands = {inode: _name(pid) for pid in _pids() for inode in _sockets(pid) if inode in unknown}
            self._servers.update({inode: bool(_SERVERS.match(commands.get(inode, ""))) for inode in unknown})


def listeners_at(path: str) -> list[int] | None:
    """Return the visible processes that listen on a Unix socket; None if there are none."""
    wanted = {inode for inode, state, found in _unix(_ANY) if state == b"01" and _same_file(found, path)}
    return [pid for pid in _pids() if wanted & set(_sockets(pid))] if wanted else None


def accepts(port: int, timeout: float = 0.5) -> bool:
    """Return whether a connection to a port of this machine is accepted."""
    try:
        socket.create_connection(("localhost", port), timeout).close()
    except OSError:
        return False
    return True


def addresses_of(host: str) -> set[str]:
    """The IP addresses of a host; none where it is not known."""
    try:
        return {str(found[4][0]) for found in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    except (OSError, UnicodeError):
        return set()


def _tcp() -> Iterator[tuple[int, int, int, int, bytes]]:
    """State, inode, own port, the peer's port and address of each TCP socket that listens or is connected."""
    for family in (socket.AF_INET, socket.AF_INET6):
        request = struct.pack("=BBBBI48x", family, socket.IPPROTO_TCP, 0, 0, 1 << _ESTABLISHED | 1 << _LISTEN)
        for answer in _ask(request, _DUMP):
            if len(answer) >= _INET.size:
                found = _INET.unpack_from(answer)
                peer = found[7][:4] if found[0] == socket.AF_INET else found[7]
                yield found[1], found[13], socket.ntohs(found[4]), socket.ntohs(found[5]), peer


def listening_ports() -> set[int] | None:
    """Return the TCP ports with a listener; None if the kernel refuses the query."""
    found: set[int] = set()
    try:
        for family in (socket.AF_INET, socket.AF_INET6):
            request = struct.pack("=BBBBI48x", family, socket.IPPROTO_TCP, 0, 0, 1 << _LISTEN)
            for answer in _answers(request, _DUMP):
                found.add(socket.ntohs(_INET.unpack_from(answer)[4]))
    except (OSError, struct.error):
        return None
    return found


def _ask(request: bytes, flags: int) -> Iterator[bytes]:
    """Return the kernel's answers to a socket query; none if it refuses the query."""
    with suppress(OSError):
        yield from _answers(request, flags)


def _answers(request: bytes, flags: int) -> Iterator[bytes]:
    """The same. Raises OSError where the kernel refuses to tell."""
    header = struct.pack("=IHHII", 16 + len(request), _BY_FAMILY, flags, 0, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _DIAG) as asked:
        asked.settimeout(0.5)
        asked.send(header + request)
        while True:
            data, position = asked.recv(1 << 16), 0
            while position + 16 <= len(data):
                length, kind = struct.unpack_from("=IH", data, position)
                if kind == _ERROR:
                    raise OSError("the kernel refuses to list sockets")
                if kind == _DONE or length < 16:
                    return
                yield data[position + 16 : position + length]
                position += length + 3 & ~3
            if flags == _ONE:
                return


def _same_file(one: str, other: str) -> bool:
    return one == other or os.path.realpath(one) == os.path.realpath(other)


def _unix(pattern: re.Pattern[bytes]) -> Iterator[tuple[int, bytes, str]]:
    """Inode, state (01: it listens, 03: it is connected) and path of Unix sockets."""
    with suppress(OSError), open("/proc/net/unix", "rb") as file:  # noqa: PTH123 - as above
        for match in pattern.finditer(file.read()):
            yield int(match[2]), match[1], os.fsdecode(match[3])


def _peer(inode: int) -> int:
    """Return the inode of a connected Unix socket's peer; 0 if unknown."""
    request = struct.pack("=BBHIIIiI", socket.AF_UNIX, 0, 0, 0xFFFFFFFF, inode, _SHOW_PEER, -1, 0xFFFFFFFF)
    for answer in _ask(request, _ONE):
        position = 16  # behind struct unix_diag_msg
        while position + 8 <= len(answer):
            length, kind = struct.unpack_from("=HH", answer, position)
            if kind == _PEER:
                return int(struct.unpack_from("=I", answer, position + 4)[0])
            position += max(4, length + 3 & ~3)
    return 0


def _holders(roots: Iterable[int]) -> dict[int, tuple[int, int, str]]:
    """Root, pid and command of who has a socket open, by inode: all processes below the roots."""
    found: dict[int, tuple[int, int, str]] = {}
    for root in roots:
        parents = [root]
        while parents:
            for pid in children(parents.pop()):
                parents.append(pid)
                inodes = list(_sockets(pid))
                who = (root, pid, _command(pid)) if inodes else None
                if who:
                    found.update(dict.fromkeys(inodes, who))
    return found


def _sockets(pid: int) -> Iterator[int]:
    """The inodes of a process's sockets; none where it has ended, or is another user's."""
    folder = f"/proc/{pid}/fd"
    with suppress(OSError):
        for name in os.listdir(folder):  # noqa: PTH208 - as above
            with suppress(OSError):
                target = os.readlink(f"{folder}/{name}")  # noqa: PTH115 - as above
                if target.startswith("socket:["):
                    yield int(target[8:-1])


def _pids() -> Iterator[int]:
    return (int(name) for name in os.listdir("/proc") if name.isdigit())  # noqa: PTH208 - as above


def _name(pid: int) -> str:
    return _read(f"/proc/{pid}/comm").strip()


def _command(pid: int) -> str:
    return " ".join(_read(f"/proc/{pid}/cmdline").replace("\0", " ").split())[:200]


def _read(path: str) -> str:
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - as above
            return file.read().decode(errors="replace")
    except OSError:
        return ""


def _host(packed: bytes) -> str:
    address = ip_address(packed)
    return str(getattr(address, "ipv4_mapped", None) or address)
