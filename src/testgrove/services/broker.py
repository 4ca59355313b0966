"""The broker: hands out databases over a Unix socket, one JSON object a line. docs/broker.md is its protocol.

What a client holds is tied to its connection: the kernel closes that when the client dies, however it dies, and the
broker takes everything back.
"""

from __future__ import annotations

import json
import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

from testgrove.errors import TestgroveError, UsageError
from testgrove.services.hosts import check_socket
from testgrove.services.peers import is_of_our_user

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from testgrove.core.model import DatabaseAccess

PROTOCOL = 1
ISOLATIONS = ("clone", "reset", "transaction")
_LINE = 65536  # bytes of a request


class Share(Protocol):
    """One client's databases of one engine."""

    def get(self, isolation: Any) -> DatabaseAccess:
        """A database that is as new."""

    def put(self, name: str) -> None:
        """The client needs it no more."""

    def keep(self, name: str) -> None:
        """It stays as it is for as long as the broker does."""

    def close(self) -> None:
        """The client has left."""


class Broker:
    """Listens at a socket for as long as it is open.

    engines: what opens a client's share, by the engine's name; called when a client first asks for one, may take its
    time, and may raise TestgroveError, which the client is told.
    """

    def __init__(self, path: Path, engines: Mapping[str, Callable[[], Share]]) -> None:
        check_socket(path)
        self._path = path
        self._engines = engines
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
            except OSError:
                return
            if not is_of_our_user(client):
                client.close()
                continue
            held = Client(self._engines)
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
                        break  # where the next request begins is not to be told
        finally:
            client.close()
            with self._guard:
                del self._clients[connection]
            connection.close()


class Client:
    """What one client has asked for, and its answers."""

    def __init__(self, engines: Mapping[str, Callable[[], Share]]) -> None:
        self._engines = engines
        self._shares: dict[str, Share] = {}
        self._held: dict[str, Share] = {}

    def answer(self, line: bytes) -> dict[str, Any]:
        """To one request."""
        try:
            return {"ok": self._do(_parsed(line))}
        except TestgroveError as error:
            return {"error": {"code": error.code, "message": error.message, "hint": error.hint}}

    def close(self) -> None:
        """Take back everything it holds."""
        for share in list(self._shares.values()):
            with suppress(TestgroveError):  # the server is gone: so is what was on it
                share.close()

    def _do(self, request: dict[str, Any]) -> dict[str, Any]:
        match request.get("do"):
            case "hello":
                return {"protocol": PROTOCOL, "engines": sorted(self._engines)}
            case "get":
                return self._get(_word(request, "engine", self._engines), _word(request, "isolation", ISOLATIONS))
            case "put":
                name = str(request.get("name", ""))
                self._share_of(name).put(name)
                del self._held[name]
            case "keep":
                name = str(request.get("name", ""))
                self._share_of(name).keep(name)
                del self._held[name]
            case other:
                raise UsageError("bad-request", f"there is no request {other!r}; there are hello, get, put, keep")
        return {}

    def _get(self, engine: str, isolation: str) -> dict[str, Any]:
        share = self._shares.get(engine)
        if share is None:
            share = self._shares[engine] = self._engines[engine]()
        access = share.get(isolation)
        self._held[access.name] = share
        return {
            "engine": access.engine,
            "isolation": isolation,
            "name": access.name,
            "url": access.url(),
            "host": access.host,
            "port": access.port,
            "user": access.user,
            "password": access.password.reveal(),
        }

    def _share_of(self, name: str) -> Share:
        if name not in self._held:
            raise UsageError("not-leased", f"this client holds no database {name!r}")
        return self._held[name]


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        request = json.loads(line)
    except ValueError as error:
        raise UsageError("bad-request", f"a request is one JSON object on one line: {error}") from error
    if not isinstance(request, dict):
        raise UsageError("bad-request", f"a request is a JSON object, not {type(request).__name__}")
    return request


def _word(request: dict[str, Any], key: str, known: Any) -> str:
    value = request.get(key, "clone" if key == "isolation" else None)
    if not isinstance(value, str) or value not in known:
        there = ", ".join(known) or "none"
        raise UsageError(f"unknown-{key}", f"there is no {key} {value!r} here; there are: {there}")
    return value
