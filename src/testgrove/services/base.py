"""The common part of engines and hosts: programs that are started, and where a running server is reached."""

from __future__ import annotations

import secrets
import string
from abc import abstractmethod
from typing import TYPE_CHECKING, Protocol

from testgrove.core.frozen import frozen
from testgrove.core.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from testgrove.core.connections.permitted import PermittedConnections
    from testgrove.core.model import DatabaseAccess
    from testgrove.core.settings.types import Service

LOOPBACK = "127.0.0.1"
_ALPHABET = string.ascii_letters + string.digits


class RunningProcess(Protocol):
    """A supervised process. pid: of the main process, not of its supervisor."""

    pid: int

    def poll(self) -> int | None:
        """The exit status, None while it is alive."""

    def stop(self, *, signal: int, timeout: float) -> None:
        """Signal the main process, wait up to timeout seconds, then kill the rest of its process tree."""


class Launcher(Protocol):
    """Starts programs for services; the tree of each ends with the run, whatever happens."""

    def start(
        self,
        argv: Sequence[str],
        *,
        cwd: Path,
        env: Mapping[str, str],
        log: Path,
        user: tuple[int, int] | None = None,
    ) -> RunningProcess:
        """Start a server under its own supervisor, with its output in log. user: uid and gid to run as."""

    def run(
        self,
        argv: Sequence[str],
        *,
        cwd: Path,
        env: Mapping[str, str],
        timeout: float,
        user: tuple[int, int] | None = None,
        permitted: PermittedConnections | None = None,
    ) -> str:
        """Run a tool and return its output. Raises UnavailableError with the last lines of the output.

        permitted: the servers that it may connect to, if connections are watched. A connection to another database
        server stops the tool and raises PreconditionError (``other-database``).
        """


@frozen
class Endpoint:
    """A running server, as its owner reaches it."""

    engine: str
    version: str
    host: str
    port: int
    user: str
    password: Secret
    socket_dir: str = ""


class Program(Protocol):
    """A server that a host can start."""

    @property
    def what(self) -> str:
        """Its name in messages (``PostgreSQL 15.18``)."""

    @property
    def port(self) -> int:
        """The TCP port it is to listen on."""

    def argv(self) -> Sequence[str]:
        """Return the command line. It contains no password, because all users can read it."""

    def is_ready(self, pid: int) -> bool:
        """Return whether this pid, and no other process, answers. Raises TestgroveError if it never will."""


class Engine(Protocol):
    """The methods of every engine. By default it needs no driver, and brings no client programs."""

    def require(self) -> None:
        """Raise PreconditionError (``no-driver``) if a driver that it needs is not installed."""
        return

    @abstractmethod
    def shell(self, url: str, service: Service | None) -> tuple[str, ...]:
        """Return the command line of its client program. Raises PreconditionError (``no-client-program``)."""

    def client_environ(self, access: DatabaseAccess) -> dict[str, str]:  # noqa: ARG002 - for those that read variables
        """Return the variables that client programs need in addition to a URL without the password."""
        return {}

    def client_programs(self, path: str | None) -> tuple[Path, ...]:  # noqa: ARG002 - it brings none
        """Return client programs to link into a worktree's environment because PATH has none."""
        return ()


def generate_password() -> Secret:
    """A password of letters and digits, which need no quotes anywhere."""
    return Secret("".join(secrets.choice(_ALPHABET) for _ in range(24)))
