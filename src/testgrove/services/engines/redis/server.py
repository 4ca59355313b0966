"""Redis or Valkey, embedded: an instance for each worktree, because numbered databases share pub/sub and
FLUSHALL."""

from __future__ import annotations

import re
import socket
from typing import TYPE_CHECKING

from testgrove.core.frozen import frozen
from testgrove.errors import UnavailableError, UsageError
from testgrove.services.base import Endpoint
from testgrove.services.hosts.embedded import CURRENT_USER, EmbeddedHost, check_socket
from testgrove.services.instances import RunningInstance
from testgrove.system.files import explained

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from testgrove.core.secret import Secret
    from testgrove.services.base import Launcher
    from testgrove.services.engines.redis.binaries import RedisBinary

_LOOPBACK = "127.0.0.1"
_SETTINGS = {"save": "", "appendonly": "no"}
_OURS = frozenset(("port", "bind", "unixsocket", "unixsocketperm", "requirepass", "daemonize", "dir", "logfile"))
_PROCESS_ID = re.compile(rb"process_id:(\d+)\r\n")


@frozen
class RedisProgram:
    """The program ``redis-server`` or ``valkey-server`` with a configuration file."""

    binary: RedisBinary
    configuration: Path
    socket: Path
    endpoint: Endpoint

    @property
    def what(self) -> str:
        """Its name in messages."""
        return f"{self.binary.product} {self.binary.version}"

    @property
    def port(self) -> int:
        """The TCP port it is to listen on."""
        return self.endpoint.port

    def argv(self) -> Sequence[str]:
        """The command line."""
        return (str(self.binary.path), str(self.configuration))

    def is_ready(self, pid: int) -> bool:
        """Whether the server that pid is accepts our password.

        It binds its port before its socket, and ends when it could not: so the listener is this process.
        """
        # Importing the driver takes ten times as long as the server's start.
        try:
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(5)
                client.connect(str(self.socket))
                client.sendall(
                    f"AUTH {self.endpoint.user} {self.endpoint.password.reveal()}\r\nINFO server\r\n".encode()
                )
                answer = b""
                while not (found := _PROCESS_ID.search(answer)):
                    data = client.recv(65536)
                    answer += data
                    if not data or answer.startswith(b"-"):
                        raise UnavailableError("redis-failed", f"{self.what} answered {answer[:200]!r}")
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        except OSError as error:
            raise UnavailableError("redis-failed", f"{self.what} does not answer: {error}") from error
        if int(found[1]) != pid:
            raise UnavailableError("redis-failed", f"process {found[1].decode()} answers at {self.socket}, not {pid}")
        return True


class RedisServer(RunningInstance):
    """A running instance that a run owns; it holds one database."""

    @classmethod
    def start(
        cls,
        binary: RedisBinary,
        *,
        launcher: Launcher,
        directory: Path,
        port: int,
        password: Secret,
        settings: Mapping[str, str] | None = None,
    ) -> RedisServer:
        """Start an instance without persistence in an empty directory with a short path.

        Raises PreconditionError (``port-taken``, ``socket-path-too-long``), UsageError (``invalid-setting``),
        UnavailableError (``server-died``, ``server-not-ready``).
        """
        path, file = directory / "redis.sock", directory / "redis.conf"
        check_socket(path)
        text = configuration(path, port, password, directory, settings or {})
        endpoint = Endpoint("redis", binary.version, _LOOPBACK, port, "default", password, str(directory))
        with explained("write", file):
            file.touch(mode=0o600)  # it contains the password
            file.write_text(text)
        host = EmbeddedHost(launcher, ours=(), copies=directory, identity=CURRENT_USER)
        program = RedisProgram(binary, file, path, endpoint)
        return cls(endpoint, host.start(program, directory=directory))


def configuration(path: Path | None, port: int, password: Secret, directory: Path, overrides: Mapping[str, str]) -> str:
    """The text of a configuration file. path: of a Unix socket, if there is to be one. Raises UsageError
    (``invalid-setting``).

    With ``requirepass = ""`` among the overrides, clients need no password; those that give ours by name still can.
    """
    is_open = overrides.get("requirepass") == ""
    overrides = {name: value for name, value in overrides.items() if name != "requirepass" or value}
    for name, value in overrides.items():
        if name in _OURS or not re.fullmatch(r"[a-z][a-z0-9-]*", name) or "\n" in value:
            why = "testgrove sets it" if name in _OURS else "invalid name"
            raise UsageError("invalid-setting", f"cannot set the Redis setting '{name}': {why}")
    ours = {
        "bind": _LOOPBACK,
        "port": str(port),
        **({"unixsocket": str(path), "unixsocketperm": "700"} if path else {}),
        "requirepass": "" if is_open else password.reveal(),
        "daemonize": "no",
        "dir": str(directory),
        "logfile": "",
    }
    settings = {**_SETTINGS, **overrides, **ours}
    return "".join(f'{name} "{_escaped(value)}"\n' for name, value in settings.items())


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"')
