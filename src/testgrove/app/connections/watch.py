"""Watches the connections of attempts: reports of the pytest plugin, and the sockets of all processes.

A connection to a foreign database ends the attempt with an error.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any

from testgrove.app.connections.aliases import Aliases
from testgrove.core import envfile
from testgrove.core.connections.addresses import PORTS, Address, parse_permission, same_server
from testgrove.core.connections.permitted import ForeignConnection, PermittedConnections, shown_command, variable_leads
from testgrove.core.runs.leaks import TrackedResource
from testgrove.system.connections import Connection, Sampler, accepts, listeners_at
from testgrove.system.containers import published_since
from testgrove.system.listeners import listeners
from testgrove.system.processes.supervision import is_supervised

_PAUSE = 0.025  # seconds between two looks at sockets: about what one short psql takes
_HELD = 1.0  # seconds in which a driver reports by which name it found an address
_LOOKS = 8  # at who listens, before a server counts as foreign
_SHARE = 50  # a pause is at least so many times as long as a look took: two percent of a CPU


class AttemptConnections:
    """The connections of one attempt. roots: returns the current ancestors of its processes.

    permitted: what it may connect to. names: the variables that testgrove set. environ: all variables.
    """

    def __init__(
        self,
        permitted: PermittedConnections,
        names: Iterable[str],
        environ: Mapping[str, str],
        tree: Path,
        roots: Callable[[], Sequence[int]],
    ) -> None:
        self.roots, self.foreign = roots, list[ForeignConnection]()
        self._permitted, self._names, self._environ, self._tree = permitted, set(names), dict(environ), tree
        self._began, self._aliases = time.time(), Aliases()
        self._held: list[tuple[float, ForeignConnection]] = []
        self._by_socket: list[ForeignConnection] = []
        self._guard = threading.Lock()

    def take(self, entry: Mapping[str, Any]) -> None:
        """Take in a report of the plugin."""
        if entry["type"] == "values":
            self._take_values(entry)
        else:
            self._take_connection(entry)

    def see(self, found: Connection) -> None:
        """Take in the connections of a process that the kernel shows."""
        address = Address("", found.host, found.port, found.socket)
        if not self.is_permitted(address):
            engine = next((engine for engine, port in PORTS.items() if port == found.port), "")
            where = Address(engine, found.host, found.port, found.socket)
            foreign = ForeignConnection(where, f"`{shown_command(found.command)}` connected to")
            if any(self._named_at(found.port)) and not address.is_local:
                self._held.append((time.monotonic(), foreign))
            else:
                self._add(foreign, by_socket=True)

    def judge_held(self, after: float = 0.0) -> None:
        """Judge addresses that a permitted name may lead to, once what connected there has had time to say so.

        after: seconds.
        """
        until = time.monotonic() - after
        due = [foreign for when, foreign in self._held if when <= until]
        self._held = [each for each in self._held if each[0] > until]
        for foreign in due:
            if not self.is_permitted(foreign.address):
                self._add(foreign, by_socket=True)

    def without_own(self, resources: Iterable[TrackedResource]) -> list[TrackedResource]:
        """Return leftovers of a pytest process without permitted connections: these end with it and are no leaks."""
        return [
            resource for resource in resources if not (resource.kind == "descriptor" and self._is_own(resource.name))
        ]

    def is_permitted(self, address: Address) -> bool:
        """Return whether an open connection is permitted, or leads to a server of the run."""
        return self._permitted.permits(address) or self._is_runs(address) or self._is_alias(address)

    def _take_values(self, entry: Mapping[str, Any]) -> None:
        changed = {str(name): str(value) for name, value in entry["values"].items()}
        for name in entry["gone"]:
            self._environ.pop(name, None)
        self._environ |= changed
        where = str(entry["where"])
        for name in sorted((changed.keys() | set(entry["gone"])) & self._names):
            for address in variable_leads(name, self._environ, self._service_file):
                if not self._permitted.permits(address) and not self._is_alias(address):
                    source = " ".join(filter(None, [f"set by {where}" if where else "", self._file_of(name, address)]))
                    self._add(ForeignConnection(address, f"${name} leads to", source))

    def _take_connection(self, entry: Mapping[str, Any]) -> None:
        engine, host, port, database = entry["engine"], str(entry["host"]), int(entry["port"]), entry["database"]
        if port:
            found = [Address(engine, name, port, database=database or None) for name in (host, str(entry["address"]))]
        else:
            found = [Address(engine, socket=host, database=database or None)]
        known = [address for address in found if address.host or address.socket]
        if port and self._permitted.permits(found[0]):
            self._aliases.learn(host, str(entry["address"]))
        if not any(map(self.is_permitted, known)):
            where = ", in ".join(filter(None, [entry["where"], entry["test"]]))
            self._add(ForeignConnection(known[0], "a driver connected to", where))

    def _add(self, foreign: ForeignConnection, *, by_socket: bool = False) -> None:
        """Keep one connection for each server and database; of a server whose databases have numbers, one in all.

        by_socket: only its socket was seen, so what a driver reports of the same connection replaces it.
        """
        address = foreign.address
        with self._guard:
            for known in self.foreign:
                one = known.address
                if not same_server(one, address) or one.service != address.service:
                    continue
                if known in self._by_socket and not by_socket:
                    self._by_socket.remove(known)
                    self.foreign[self.foreign.index(known)] = foreign
                    return
                if by_socket or address.is_numbered or one.database == address.database:
                    return
            self.foreign.append(foreign)
            if by_socket:
                self._by_socket.append(foreign)

    def _is_runs(self, address: Address) -> bool:
        """Return whether a server is there that this run or one of its tests has started, in a container too; or none
        is."""
        if address.is_local:
            served = _is_served(address)
            if served or (served is None and (address.socket or not accepts(address.port))):
                return True
        published = bool(address.port) and published_since(address.port, self._began, self._environ)
        # Containers have their own ports; an unknown address is not reported as foreign.
        return published if published is not None else address.is_local and address.port not in PORTS.values()

    def _is_alias(self, address: Address) -> bool:
        """Return whether an IP address belongs to a host that is permitted by name."""
        same = [one for one in self._named_at(address.port) if one.host != address.host]
        addresses = self._aliases.of(address.host) if same and address.host else set()
        for one in same:
            if addresses & self._aliases.of(one.host):
                renamed = Address(address.engine, one.host, address.port, database=address.database)
                return self._permitted.permits(renamed)
        return False

    def _named_at(self, port: int) -> Iterator[Address]:
        """The permitted databases and servers that a host's name or address and this port name."""
        return (one for one in (*self._permitted.external, *self._permitted.allowed) if one.port == port and one.host)

    def _is_own(self, name: str) -> bool:
        """Return whether a descriptor, as described by the plugin, is a permitted connection."""
        words = name.split(" ")
        if words[0] != "socket" or len(words) < 2 or words[-1] == "listening":
            return False
        try:
            address = parse_permission(_bracketed(words[-1]))
        except ValueError:
            return False
        return self._permitted.permits(address) or bool(address.is_local and _is_served(address))

    def _file_of(self, name: str, address: Address) -> str:
        """The env file that has the same value, if there is one."""
        for path in sorted(self._tree.glob(".env*")):
            try:
                value = envfile.parse(path.read_text(encoding="utf-8")).get(name, "")
            except (OSError, UnicodeError):
                continue
            if value and address in variable_leads(name, self._environ | {name: value}):
                return f"as {path.name} has it"
        return ""

    @cached_property
    def _service_file(self) -> str:
        home = self._environ.get("HOME", "")
        named = self._environ.get("PGSERVICEFILE") or (f"{home}/.pg_service.conf" if home else "")
        try:
            return Path(named).read_text(encoding="utf-8") if named else ""
        except (OSError, UnicodeError):
            return ""


class ConnectionWatch:
    """Samples the sockets of all attempts of a run that go on. Its thread ends when none does."""

    def __init__(self) -> None:
        self._guard, self._looking = threading.Lock(), threading.Lock()
        self._active: list[AttemptConnections] = []
        self._sampler = Sampler()
        self._thread: threading.Thread | None = None

    @contextmanager
    def watching(self, attempt: AttemptConnections) -> Iterator[AttemptConnections]:
        """An attempt goes on in the block."""
        with self._guard:
            self._active.append(attempt)
            if self._thread is None:
                self._thread = threading.Thread(target=self._sample, name="connections", daemon=True)
                self._thread.start()
        try:
            yield attempt
        finally:
            with self._looking, self._guard:  # what was seen in its last moments is judged
                self._active.remove(attempt)
                attempt.judge_held()

    def _sample(self) -> None:
        while True:
            began = time.thread_time()
            with self._looking:
                with self._guard:
                    active = list(self._active)
                    if not active:
                        self._thread = None
                        return
                owners = {root: attempt for attempt in active for root in attempt.roots()}
                with suppress(OSError, ValueError):  # a look that failed is followed by another one
                    for found in self._sampler.look(owners.keys()):
                        owners[found.root].see(found)
                for attempt in active:
                    attempt.judge_held(_HELD)
            time.sleep(max(_PAUSE, _SHARE * (time.thread_time() - began)))


def _is_served(address: Address) -> bool | None:
    """Return whether a process of this run listens at an address of this machine; None where none listens at all.

    A server that is about to exit still has its socket for a moment, but no process that holds it. So an unknown
    process counts as foreign only after several looks; during these, nothing else is sampled.
    """
    for look in range(_LOOKS):
        time.sleep(_PAUSE if look else 0)
        pids = _listening(address)
        if pids is None:
            return None
        if any(pid is not None and is_supervised(pid) for pid in pids):
            return True
        if None not in pids:
            return False
    return False


def _listening(address: Address) -> list[int | None] | None:
    """The processes that listen at an address; None in place of an unknown one; None alone where none listens."""
    if address.socket:
        pids = listeners_at(address.socket)
        return None if pids is None else [*pids] or [None]
    return [each.pid for each in listeners(address.port)] or None


def _bracketed(text: str) -> str:
    """An IPv6 address with its port, as a URL has it."""
    host, _, port = text.rpartition(":")
    return f"[{host}]:{port}" if ":" in host and not host.startswith("[") else text
