"""Ports: leased machine-wide for the user, per network namespace, and bind-checked."""

from __future__ import annotations

import errno
import socket
from collections.abc import Sequence
from pathlib import Path

from testgrove.core.leases import Leases
from testgrove.core.model import Lease, LeaseKind
from testgrove.errors import ExhaustedError


def lease_block(leases: Leases, ports: range, names: Sequence[str]) -> dict[str, int]:
    """Lease the lowest free block of consecutive ports, one for each name.

    Raises ExhaustedError (``ports-exhausted``) when the range holds no such block.
    """
    namespace = network_namespace()

    def choose(taken: frozenset[str]) -> list[Lease]:
        usable: list[int] = []
        for port in ports:
            free = f"{namespace}:{port}" not in taken and is_free(port)
            usable = [*usable, port] if free else []
            if len(usable) == len(names):
                return [
                    Lease(LeaseKind.PORTS, f"{namespace}:{number}", {"name": name, "port": number})
                    for name, number in zip(names, usable, strict=True)
                ]
        span = f"{ports.start}-{ports.stop - 1}"
        raise ExhaustedError(
            "ports-exhausted",
            f"no {len(names)} consecutive free ports are left in {span}",
            hint="`testgrove list --ports` shows who holds them; `testgrove cleanup --max-age 24` frees some; "
            "or widen [tool.testgrove.ports] range",
            range=span,
        )

    chosen = leases.choose(LeaseKind.PORTS, choose)
    return {lease.data["name"]: lease.data["port"] for lease in chosen}


def is_free(port: int) -> bool:
    """Whether nobody listens on the port, on any address of this machine."""
    return _bindable(socket.AF_INET, "0.0.0.0", port) and _bindable(socket.AF_INET6, "::", port)  # noqa: S104 - bound for a moment, never listened on


def _bindable(family: socket.AddressFamily, address: str, port: int) -> bool:
    try:
        probe = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        return error.errno == errno.EAFNOSUPPORT  # no IPv6 here: nobody can listen on it either
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
