"""A Redis made as new between tests, at the same address.

What tests write is flushed. Whatever else they change (settings, users, modules) is not mended but noticed: then the
instance is started anew, which takes some 20 ms. Connections stay, so a client may keep one, but for those that wait
for something: what a test before was waiting for is the next one's.
"""

from __future__ import annotations

import re
import secrets
import socket
from typing import TYPE_CHECKING

from testgrove.errors import UnavailableError

if TYPE_CHECKING:
    from testgrove.services.base import Endpoint
    from testgrove.services.instances import RunningInstance

_TIMEOUT = 5  # seconds; a server that is busy with a script is restarted
_WAITING = frozenset("bPO")  # CLIENT LIST's flags: in a blocking call, subscribed, monitoring
_CLIENT = re.compile(rb"^id=(\d+) .*? flags=(\w+) ", re.MULTILINE)
# Those that the older versions do not know are answered by an error, which is as good.
_FLUSH = ("CLIENT UNPAUSE", "FLUSHALL SYNC", "SCRIPT FLUSH", "FUNCTION FLUSH", "SLOWLOG RESET", "CONFIG RESETSTAT")
_STATE = ("CONFIG GET *", "ACL LIST", "MODULE LIST", "DBSIZE")


class RedisResetter:
    """Resets an instance (protocols.InstanceResetter). instance: one that has just started."""

    def __init__(self, instance: RunningInstance) -> None:
        self._connection = _Connection(instance.endpoint)
        self._untouched = self._connection.state()

    def reset(self) -> bool:
        """Implement InstanceResetter."""
        try:
            clients = _CLIENT.finditer(self._connection.ask("CLIENT LIST"))
            waiting = [found[1].decode() for found in clients if _WAITING & set(found[2].decode())]
            self._connection.ask(*(f"CLIENT KILL ID {client}" for client in waiting), *_FLUSH)
            return self._connection.ask(*_STATE) == self._untouched
        except OSError:
            return False  # it was shut down, or is busy

    def close(self) -> None:
        """Implement InstanceResetter."""
        self._connection.close()


class _Connection:
    """A connection to an instance. Importing the driver takes longer than starting ten of them."""

    def __init__(self, at: Endpoint) -> None:
        self._port = at.port
        self._socket = socket.socket(socket.AF_UNIX)
        try:
            self._socket.settimeout(_TIMEOUT)
            self._socket.connect(f"{at.socket_dir}/redis.sock")
            self.ask(f"AUTH {at.user} {at.password.reveal()}")
        except OSError as error:
            self._socket.close()
            raise self._no_answer(error) from error

    def state(self) -> bytes:
        """Return the state of an instance that has just been started. Raises UnavailableError."""
        try:
            return self.ask(*_STATE)
        except OSError as error:
            self._socket.close()
            raise self._no_answer(error) from error

    def _no_answer(self, error: OSError) -> UnavailableError:
        return UnavailableError("redis-failed", f"the Redis on port {self._port} does not answer: {error}")

    def ask(self, *commands: str) -> bytes:
        """Return the answers as they come. Raises OSError."""
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
