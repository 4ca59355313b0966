"""The broker: hands out databases over a Unix socket, one JSON object a line. docs/broker.md is its protocol.

What a client holds is tied to its connection: the kernel closes that when the client dies, however it dies, and the
broker takes everything back.
"""

from __future__ import annotations

import errno
import json
import socket
import threading
import time
import traceback
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from testgrove.core.engines.registry import BUILT_IN, engine_of
from testgrove.errors import TestgroveError, UnavailableError, UsageError
from testgrove.services.hosts.embedded import check_socket
from testgrove.services.peers import is_of_our_user

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from testgrove.core.model import DatabaseAccess
    from testgrove.services.allocation import Allocation

PROTOCOL = 1
MIGRATIONS = "-migrations"  # ends the name of what gives a service's databases to tests of migrations
_REQUESTS = ("hello", "get", "put", "keep", "empty", "migrate", "schema", "revisions")
_LINE = 65536  # bytes of a request
# No client is let in now.
_PASSING = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.ECONNABORTED)
_PAUSE = 0.05
_DYING = 0.5  # seconds


class Broker:
    """Listens at a socket for as long as it is open.

    services: what opens a client's allocation, by the service's name; called when a client first asks for one, may
    take its time, and may raise TestgroveError, which the client is told. kinds: the engines of those services that do
    not bear its name. hint: how to have another service; ``{}`` is its name. fixtures: see core.engines.fixtures.
    evidence: writes down what is in a database, for longer than the broker lives, and returns the name it is found by.
    """

    def __init__(
        self,
        path: Path,
        services: Mapping[str, Callable[[], Allocation]],
        *,
        kinds: Mapping[str, str] | None = None,
        hint: str = "",
        fixtures: Mapping[str, Any] | None = None,
        evidence: Callable[[DatabaseAccess, str], str] | None = None,
    ) -> None:
        check_socket(path)
        self._path = path
        self._of_each = services, kinds or {}, hint, evidence, {"fixtures": fixtures} if fixtures else {}
        self._guard = threading.Lock()
        self._clients: dict[socket.socket, tuple[threading.Thread, Client]] = {}
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        path.chmod(0o600)
        self._listener.listen(128)
        self._thread = threading.Thread(target=self._accept, name="broker", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Send every client away, and take back what they hold."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # accept() returns
        self._thread.join()
        self._listener.close()
        self._path.unlink(missing_ok=True)
        with self._guard:
            clients = dict(self._clients)
        for connection, (thread, client) in clients.items():
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            client.close()  # also while it waits for a database
            thread.join()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError as error:
                if error.errno not in _PASSING:
                    return  # closed
                time.sleep(_PAUSE)
                continue
            if not is_of_our_user(client):
                client.close()
                continue
            held = Client(*self._of_each)
            thread = threading.Thread(target=self._serve, args=(client, held), name="broker-client", daemon=True)
            with self._guard:
                self._clients[client] = thread, held
            thread.start()

    def _serve(self, connection: socket.socket, client: Client) -> None:
        try:
            with suppress(OSError), connection.makefile("rwb") as lines:
                while line := lines.readline(_LINE):
                    lines.write(json.dumps(client.answer(line)).encode() + b"\n")
                    lines.flush()
                    if len(line) == _LINE:
                        break  # cannot tell where the next request begins
        finally:
            client.close()
            with self._guard:
                del self._clients[connection]
            connection.close()


class Client:
    """One client's requests, and their answers."""

    def __init__(
        self,
        services: Mapping[str, Callable[[], Allocation]],
        kinds: Mapping[str, str],
        hint: str = "",
        evidence: Callable[[DatabaseAccess, str], str] | None = None,
        told: Mapping[str, Any] | None = None,
    ) -> None:
        self._services, self._kinds = services, kinds
        self._hint, self._evidence, self._told = hint, evidence, told or {}
        self._allocations: dict[str, Allocation] = {}
        self._held: dict[str, Allocation] = {}
        self._accesses: dict[str, DatabaseAccess] = {}

    def answer(self, line: bytes) -> dict[str, Any]:
        """To one request."""
        try:
            return {"ok": self._do(_parsed(line))}
        except TestgroveError as error:
            return {"error": {"code": error.code, "message": error.message, "hint": error.hint}}
        except Exception:  # noqa: BLE001 - the client is to know why, and can ask for something else
            return {"error": {"code": "bug", "message": f"a bug in testgrove: {traceback.format_exc()}", "hint": ""}}

    def close(self) -> None:
        """Take back everything it holds."""
        for allocation in list(self._allocations.values()):
            with suppress(TestgroveError):  # the server is gone, with its databases
                allocation.close()

    def _do(self, request: dict[str, Any]) -> dict[str, Any]:
        match request.get("do"):
            case "hello":
                return {"protocol": PROTOCOL, "engines": sorted(self._services), **self._told}
            case "get":
                service = self._service(request)
                return self._get(service, _isolation(request, service, self._engine_of(service)))
            case "put":
                self._put_back(str(request.get("name", "")))
            case "keep" if "label" in request:
                name = str(request.get("name", ""))
                self._allocation_of(name)
                kept = self._keep_evidence(self._accesses[name], str(request["label"]))
                self._put_back(name)
                return {"kept": kept}
            case "keep":
                name = str(request.get("name", ""))
                self._allocation_of(name).keep(name)
                self._forget(name)
            case "empty":
                name = str(request.get("name", ""))
                self._allocation_of(name).empty(name)
            case "migrate" | "schema" | "revisions" as what:
                return self._work_on_migrations(what, str(request.get("name", "")), request)
            case other:
                raise UsageError("bad-request", f"unknown request {other!r} (supported: {', '.join(_REQUESTS)})")
        return {}

    def _put_back(self, name: str) -> None:
        allocation = self._allocation_of(name)
        self._forget(name)
        with suppress(TestgroveError):  # the server is gone; the next request reports it
            allocation.put(name)

    def _forget(self, name: str) -> None:
        del self._held[name]
        del self._accesses[name]

    def _keep_evidence(self, access: DatabaseAccess, label: str) -> str:
        if self._evidence is None:
            raise UsageError("bad-request", "this broker does not keep databases after it ends; remove 'label'")
        return self._evidence(access, label)

    def _service(self, request: dict[str, Any]) -> str:
        """The service that is asked for: by its name or, of a default one, by its engine's."""
        found = request.get("service", request.get("engine"))
        if not isinstance(found, str) or found not in self._services:
            there = ", ".join(self._services) or "none"
            name = str(found).removesuffix(MIGRATIONS)
            hint = self._hint.format(name) if name in {*self._kinds, *BUILT_IN} else ""
            raise UsageError("unknown-engine", f"engine {found!r} not found (available: {there})", hint=hint)
        return found

    def _engine_of(self, service: str) -> str:
        name = service.removesuffix(MIGRATIONS)
        return self._kinds.get(name, name)

    def _work_on_migrations(self, what: str, name: str, request: dict[str, Any]) -> dict[str, Any]:
        allocation = self._allocation_of(name)
        if what == "schema":
            return {"schema": allocation.schema(name)}
        if what == "revisions":
            return allocation.revisions(name)
        way, revision, keep = request.get("way"), request.get("revision"), request.get("keep_data", True)
        if not isinstance(way, str) or not isinstance(revision, str) or not isinstance(keep, bool):
            raise UsageError(
                "bad-request", "'migrate' requires 'way' (up or down) and 'revision'; optional: 'keep_data'"
            )
        allocation.migrate(name, way, revision, keep_data=keep)
        return {}

    def _allocation(self, service: str) -> Allocation:
        allocation = self._allocations.get(service)
        if allocation is not None and allocation.is_lost():
            with suppress(TestgroveError):
                allocation.close()
            allocation = None
        if allocation is None:
            allocation = self._allocations[service] = self._services[service]()
        return allocation

    def _get(self, service: str, isolation: str) -> dict[str, Any]:
        allocation = self._allocation(service)
        try:
            access = allocation.get(isolation)
        except UnavailableError:
            if not allocation.is_lost(_DYING):  # a killed server exists until the kernel has freed its memory
                raise
            allocation = self._allocation(service)
            access = allocation.get(isolation)
        self._held[access.name], self._accesses[access.name] = allocation, access
        return {
            "engine": access.engine,
            "service": service,
            "isolation": isolation,
            "name": access.name,
            "url": access.url(),
            "host": access.host,
            "port": access.port,
            "user": access.user,
            "password": access.password.reveal(),
            **_socket(access),
        }

    def _allocation_of(self, name: str) -> Allocation:
        if name not in self._held:
            raise UsageError("not-leased", f"this client holds no database {name!r}")
        return self._held[name]


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        request = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UsageError("bad-request", f"invalid request: expected one JSON object on one line: {error}") from error
    if not isinstance(request, dict):
        raise UsageError("bad-request", f"invalid request: expected a JSON object, found {type(request).__name__}")
    return request


def _socket(access: DatabaseAccess) -> dict[str, str]:
    """The Unix socket of a server that its client has alone."""
    engine = engine_of(access.engine)
    if engine.isolation != "instance" or not (engine.socket and access.socket_dir):
        return {}
    return {"socket": f"{access.socket_dir}/{engine.socket.format(port=access.port)}"}


def _isolation(request: dict[str, Any], service: str, engine: str) -> str:
    known = ("empty",) if service.endswith(MIGRATIONS) else engine_of(engine).test_isolations
    value = request.get("isolation", known[0])
    if not isinstance(value, str) or value not in known:
        there = ", ".join(known)
        raise UsageError("unknown-isolation", f"{service} has no isolation {value!r}; there are: {there}")
    return value
