"""Redis for test sessions: an instance for each client, emptied between tests, at the same address.

Data is flushed. Other changes (settings, users, modules) are detected, and the instance is restarted, which takes some
20 ms. Connections stay open, so a client may keep one; only blocked connections are closed: otherwise the request of
an earlier test could take data of the next one.
"""

from __future__ import annotations

import re
import secrets
import socket
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from testgrove.errors import ExhaustedError, PreconditionError, UnavailableError

if TYPE_CHECKING:
    from testgrove.core.model import DatabaseAccess
    from testgrove.services.base import Endpoint
    from testgrove.services.engines.redis.server import RedisServer

_KEPT = 20  # instances that a client asked to keep
_TIMEOUT = 5  # seconds; a server that is busy with a script is restarted
_WAITING = frozenset("bPO")  # CLIENT LIST's flags: in a blocking call, subscribed, monitoring
_CLIENT = re.compile(rb"^id=(\d+) .*? flags=(\w+) ", re.MULTILINE)
# Those that the older versions do not know are answered by an error, which is as good.
_FLUSH = ("CLIENT UNPAUSE", "FLUSHALL SYNC", "SCRIPT FLUSH", "FUNCTION FLUSH", "SLOWLOG RESET", "CONFIG RESETSTAT")
_STATE = ("CONFIG GET *", "ACL LIST", "MODULE LIST", "DBSIZE")


class Place(Protocol):
    """Where one instance runs: a port, a folder and a password that stay its own."""

    def start(self) -> RedisServer:
        """Start it. Raises TestgroveError."""

    def free(self) -> None:
        """Release the place."""


class Instance:
    """A Redis that a client has to itself. Raises TestgroveError where it cannot be started."""

    def __init__(self, place: Place) -> None:
        self._place = place
        try:
            self._start()
        except BaseException:
            place.free()
            raise

    def _start(self) -> None:
        self._server = self._place.start()
        try:
            at = self._server.endpoint
            self.access = self._server.create_database(f"redis_{at.port}", owner="a test session")
            self._line = _Line(at)
            self._untouched = self._line.state()
        except BaseException:
            self._server.stop()
            raise

    def empty(self) -> None:
        """Make it as new. Raises UnavailableError where it cannot be started again."""
        try:
            if self._is_as_new():
                return
        except OSError:
            pass  # it was shut down, or is busy
        self._stop()
        self._start()

    def _is_as_new(self) -> bool:
        waiting = [found[1].decode() for found in _CLIENT.finditer(self._line.ask("CLIENT LIST")) if _waits(found[2])]
        self._line.ask(*(f"CLIENT KILL ID {client}" for client in waiting), *_FLUSH)
        return self._line.ask(*_STATE) == self._untouched

    def leave(self) -> None:
        """Leave it running, without any further requests."""
        self._line.close()

    def end(self) -> None:
        """Stop it and discard its content."""
        self._stop()
        self._place.free()

    def _stop(self) -> None:
        self._line.close()
        self._server.stop()


def _waits(flags: bytes) -> bool:
    return bool(_WAITING & set(flags.decode()))


class _Line:
    """A connection to an instance. Importing the driver takes longer than starting ten of them."""

    def __init__(self, at: Endpoint) -> None:
        self._port = at.port
        self._socket = socket.socket(socket.AF_UNIX)
        try:
            self._socket.settimeout(_TIMEOUT)
            self._socket.connect(f"{at.socket_dir}/redis.sock")
            self.ask(f"AUTH {at.password.reveal()}")
        except OSError as error:
            self._socket.close()
            raise self._silent(error) from error

    def state(self) -> bytes:
        """What an instance that has just been started is like. Raises UnavailableError."""
        try:
            return self.ask(*_STATE)
        except OSError as error:
            self._socket.close()
            raise self._silent(error) from error

    def _silent(self, error: OSError) -> UnavailableError:
        return UnavailableError("redis-failed", f"the Redis on port {self._port} does not answer: {error}")

    def ask(self, *commands: str) -> bytes:
        """What is answered, as it comes. Raises OSError."""
        end = secrets.token_hex(8)  # nothing that a test has written can look like it
        self._socket.sendall("".join(f"{command}\r\n" for command in (*commands, f"ECHO {end}")).encode())
        tail = f"$16\r\n{end}\r\n".encode()
        answer = bytearray()
        while not answer.endswith(tail):
            data = self._socket.recv(1 << 20)
            if not data:
                raise ConnectionResetError("it has hung up")
            answer += data
        return bytes(answer[: -len(tail)])

    def close(self) -> None:
        """Hang up."""
        self._socket.close()


class RedisShare:
    """One client's instances. Implements broker.Share. find: returns a place for another one."""

    def __init__(self, find: Callable[[], Place]) -> None:
        self._find = find
        self._held: dict[str, Instance] = {}
        self._kept: list[Instance] = []
        self._closed = False
        self._guard = threading.Lock()

    def get(self, isolation: str) -> DatabaseAccess:  # noqa: ARG002 - there is one
        """An instance with nothing in it. Raises TestgroveError."""
        made = Instance(self._find())
        with self._guard:
            if not self._closed:
                self._held[made.access.name] = made
                return made.access
        made.end()
        raise UnavailableError("broker-closed", "the broker has closed")

    def empty(self, name: str) -> None:
        """Make an instance as new, at the same address. Raises PreconditionError (``not-leased``), UnavailableError."""
        self._of(name).empty()

    def put(self, name: str) -> None:
        """Take back a database that the client does not need any more. Raises PreconditionError (``not-leased``)."""
        self._of(name)
        self._held.pop(name).end()

    def keep(self, name: str) -> None:
        """Keep it unchanged until the broker ends. Raises PreconditionError, ExhaustedError."""
        found = self._of(name)
        if len(self._kept) >= _KEPT:
            raise ExhaustedError("too-many-kept", f"{_KEPT} instances of this session are already kept")
        found.leave()
        self._kept.append(found)
        del self._held[name]

    def close(self) -> None:
        """Stop all instances except those that are kept. A second call does nothing."""
        with self._guard:
            self._closed = True
            held, self._held = self._held, {}
        for instance in held.values():
            instance.end()

    def _of(self, name: str) -> Instance:
        if name not in self._held:
            raise PreconditionError("not-leased", f"this client holds no instance '{name}'")
        return self._held[name]
