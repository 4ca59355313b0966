"""Ports: leased machine-wide for the user, per network namespace, and bind-checked."""

from __future__ import annotations

import errno
import socket
from collections.abc import Collection, Iterator, Sequence
from functools import cache
from pathlib import Path

from testgrove.core.leases import Leases
from testgrove.core.model import Lease, LeaseKind
from testgrove.errors import ExhaustedError
from testgrove.system.listeners import listeners, listening_among

_NAMED = 3  # listeners that an error names


def lease_block(leases: Leases, ports: range, names: Sequence[str], *, start: float = 0.0) -> dict[str, int]:
    """Lease the first free block of consecutive ports, one for each name.

    start: where in the range the search begins, from 0.0 (its lower end) up to 1.0; it wraps around.
    Raises ExhaustedError (``ports-exhausted``), which names the listeners, when the range holds no such block.
    """
    namespace = network_namespace()

    def choose(taken: frozenset[str]) -> list[Lease]:
        leased = {port for port in ports if f"{namespace}:{port}" in taken}
        free = cache(lambda port: port not in leased and is_free(port))
        for block in _blocks(ports, len(names), start):
            if all(map(free, block)):
                return [
                    Lease(LeaseKind.PORTS, f"{namespace}:{number}", {"name": name, "port": number})
                    for name, number in zip(names, block, strict=True)
                ]
        raise _exhausted(ports, len(names), leased)

    chosen = leases.choose(LeaseKind.PORTS, choose)
    return {lease.data["name"]: lease.data["port"] for lease in chosen}


def _blocks(ports: range, size: int, start: float) -> Iterator[range]:
    """Every block of that many consecutive ports. The first one starts at a multiple of the size, so that blocks of
    one size leave no gaps between them."""
    count = max(len(ports) - size + 1, 0)
    first = int(len(ports) // size * start) * size
    for offset in (*range(first, count), *range(min(first, count))):
        yield ports[offset : offset + size]


def _exhausted(ports: range, size: int, leased: Collection[int]) -> ExhaustedError:
    span = f"{ports.start}-{ports.stop - 1}"
    found = [each for port in sorted(listening_among(set(ports) - set(leased))) for each in listeners(port)]
    others = "".join(f", {each.port} is in use by {each}" for each in found[:_NAMED])
    more = f", and {len(found) - _NAMED} more are in use" if len(found) > _NAMED else ""
    return ExhaustedError(
        "ports-exhausted",
        f"no {size} consecutive free ports left in {span}: {len(leased)} leased{others}{more}",
        hint="`testgrove list --ports` shows who holds them; `testgrove cleanup --max-age 24` frees some; "
        "or widen [tool.testgrove.ports] range",
        range=span,
    )


def is_free(port: int) -> bool:
    """Return whether the port has no listener on any address of this machine."""
    return _bindable(socket.AF_INET, "0.0.0.0", port) and _bindable(socket.AF_INET6, "::", port)  # noqa: S104 - bound for a moment, never listened on


def _bindable(family: socket.AddressFamily, address: str, port: int) -> bool:
    try:
        probe = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        return error.errno == errno.EAFNOSUPPORT  # no IPv6: no process can listen on it either
    with probe:
        # Without it, a connection that was closed a minute ago (TIME_WAIT) would make a free port look taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            return error.errno == errno.EADDRNOTAVAIL
        return True


def network_namespace() -> str:
    """The name of this process's network namespace, with which the key of a port's lease begins."""
    try:
        return str(Path("/proc/self/ns/net").readlink()).strip("net:[]")
    except OSError:
        return "0"
