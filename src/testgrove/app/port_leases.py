"""Ports leased for a project: a block for a worktree, one for a server, another one where that cannot be bound."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from testgrove.app.project import Project
from testgrove.core.leases import Leases
from testgrove.core.model import Lease, LeaseKind
from testgrove.core.settings.parse import port_range
from testgrove.errors import PreconditionError
from testgrove.system.ports import lease_block
from testgrove.system.store import StoredLeases

T = TypeVar("T")


def lease_worktree_ports(project: Project, leases: StoredLeases, names: tuple[str, ...]) -> dict[str, int]:
    """A block of ports. Raises ExhaustedError (``ports-exhausted``)."""
    span = port_range(project.settings.ports.range)
    return lease_block(leases, span, names, start=project.locations.port_start)


def lease_server_port(project: Project, leases: Leases, name: str) -> int:
    """A port for a server. Raises ExhaustedError (``ports-exhausted``)."""
    span = port_range(project.settings.ports.servers)
    return lease_block(leases, span, (name,), start=project.locations.port_start)[name]


def forget_ports(leases: StoredLeases, *ports: int) -> None:
    """Release ports without listeners of testgrove."""
    leases.forget(*(lease for lease in leases.all() if _is_of(lease, ports)))


def _is_of(lease: Lease, ports: tuple[int, ...]) -> bool:
    return lease.kind == LeaseKind.PORTS and lease.data["port"] in ports


class ServerPorts:
    """The ports of one owner's servers. Safe to use from several threads."""

    def __init__(self, project: Project, leases: StoredLeases) -> None:
        self._project, self._leases = project, leases
        self._free: list[int] = []
        self._guard = threading.Lock()

    def start(self, name: str, start: Callable[[int], T]) -> T:
        """Call start with a leased port; if that port cannot be bound (``port-taken``), with the next one.

        Any process can take a free port until it is bound: binding is the only proof. Each port is leased before it is
        tried, and ports in use stay leased until another one is found.
        Raises the errors of start, and ExhaustedError (``ports-exhausted``) when no port is left.
        """
        taken: list[int] = []
        try:
            while True:
                port = self._next(name)
                try:
                    return start(port)
                except PreconditionError as error:
                    if error.code != "port-taken":
                        self.give_back(port)
                        raise
                    taken.append(port)
        finally:
            forget_ports(self._leases, *taken)

    def give_back(self, port: int) -> None:
        """Release a port for the next server, after its listener has ended."""
        with self._guard:
            self._free.append(port)

    def _next(self, name: str) -> int:
        with self._guard:
            if self._free:
                return self._free.pop()
        return lease_server_port(self._project, self._leases, name)
