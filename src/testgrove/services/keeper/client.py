"""Speaking with a project's keeper."""

from __future__ import annotations

import json
import os
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

from testgrove.errors import UnavailableError
from testgrove.services.peers import is_of_our_user

if TYPE_CHECKING:
    from pathlib import Path

_TIMEOUT = 120.0  # seconds for an answer: a server that recovers, or writes its checkpoint, takes its time


class KeeperClient:
    """A connection to a keeper."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._lines = connection.makefile("r", encoding="utf-8")

    @classmethod
    def connect(cls, path: Path) -> KeeperClient | None:
        """Return a connection to the keeper that listens there; None if none does.

        Raises UnavailableError (``keeper-foreign``) if it belongs to another user."""
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(_TIMEOUT)
        try:
            connection.connect(str(path))
        except OSError:
            connection.close()
            return None
        if not is_of_our_user(connection):
            connection.close()
            raise UnavailableError("keeper-foreign", f"the socket {path} belongs to another user", hint=f"ls -l {path}")
        return cls(connection)

    def hold(self) -> None:
        """From now on no server is stopped for being idle, while the connection is open."""
        self._ask(do="hold")

    def start(self, name: str) -> int:
        """Start a service whose file is written; its pid when it is ready. Raises UnavailableError."""
        return int(self._ask(do="start", name=name)["pid"])

    def stop(self, name: str) -> None:
        """Stop a service in good order; the next connection starts it again."""
        self._ask(do="stop", name=name)

    def drop(self, name: str) -> None:
        """End a service at once and forget it. Its folder is the caller's to delete."""
        self._ask(do="drop", name=name)

    def services(self) -> list[dict[str, Any]]:
        """All services; see ManagedServer.document()."""
        found: list[dict[str, Any]] = self._ask(do="list")
        return found

    def quit(self) -> None:
        """Tell the keeper to stop every service and exit. To wait for its end, wait for its lock."""
        self._ask(do="quit")

    def hand_on(self) -> None:
        """Keep the connection open as long as this process lives, and in the program that takes its place."""
        self._lines.close()
        os.set_inheritable(self._connection.detach(), True)

    def close(self) -> None:
        """Leave. A second call does nothing."""
        self._lines.close()
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask(self, **request: str) -> Any:
        try:
            self._connection.sendall(json.dumps(request).encode() + b"\n")
            answer = json.loads(self._lines.readline() or "{}")
        except (OSError, ValueError) as error:
            raise _lost(str(error)) from error
        if problem := answer.get("error"):
            raise UnavailableError(problem["code"], problem["message"], hint=problem["hint"])
        if "ok" not in answer:
            raise _lost("it has ended")
        return answer["ok"]


def stop_keeper(path: Path) -> bool:
    """Tell the keeper that listens there to stop everything and to end; whether there was one."""
    client = KeeperClient.connect(path)
    if client is None:
        return False
    with client, suppress(UnavailableError):  # it may be about to end by itself
        client.quit()
    return True


def _lost(why: str) -> UnavailableError:
    return UnavailableError(
        "keeper-lost", f"the keeper of the project's servers does not answer: {why}", hint="testgrove services start"
    )
