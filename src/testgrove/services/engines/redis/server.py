"""Redis or Valkey, embedded: an instance for each worktree, because numbered databases share pub/sub and
FLUSHALL."""

from __future__ import annotations

import re
import socket
from typing import TYPE_CHECKING

from testgrove.core.frozen import frozen
from testgrove.errors import UnavailableError, UsageError
from testgrove.services.base import LOOPBACK
from testgrove.services.keeper.service import PersistentProgram
from testgrove.system.files import explained

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from testgrove.core.secret import Secret
    from testgrove.services.base import Endpoint

CONFIGURATION, SOCKET = "redis.conf", "redis.sock"  # in an instance's folder
_SETTINGS = {"save": "", "appendonly": "no"}
_OURS = frozenset(("port", "bind", "unixsocket", "unixsocketperm", "requirepass", "daemonize", "dir", "logfile"))
_PROCESS_ID = re.compile(rb"process_id:(\d+)\r\n")


@frozen
class RedisProgram(PersistentProgram):
    """The program ``redis-server`` or ``valkey-server`` with a configuration file, and a socket in its folder."""

    endpoint: Endpoint

    def is_ready(self, pid: int) -> bool:
        """Return whether the server that pid is accepts our password.

        It binds its port before its socket, and ends when it could not: so the listener is this process.
        """
        # Importing the driver takes ten times as long as the server's start.
        try:
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(5)
                client.connect(f"{self.folder}/{SOCKET}")
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
            raise UnavailableError("redis-failed", f"process {found[1].decode()} answers in {self.folder}, not {pid}")
        return True


def write_configuration(folder: Path, *, port: int, password: Secret, settings: Mapping[str, str]) -> Path:
    """Write the configuration file of an instance to its folder. Raises UsageError (``invalid-setting``).

    With ``requirepass = ""`` among the settings, clients need no password; those that give ours by name still can.
    """
    is_open = settings.get("requirepass") == ""
    settings = {name: value for name, value in settings.items() if name != "requirepass" or value}
    for name, value in settings.items():
        if name in _OURS or not re.fullmatch(r"[a-z][a-z0-9-]*", name) or "\n" in value:
            why = "testgrove sets it" if name in _OURS else "invalid name"
            raise UsageError("invalid-setting", f"cannot set the Redis setting '{name}': {why}")
    ours = {
        "bind": LOOPBACK,
        "port": str(port),
        "requirepass": "" if is_open else password.reveal(),
        "daemonize": "no",
        "dir": str(folder),
        "logfile": "",
    }
    lines = (f'{name} "{_escaped(value)}"\n' for name, value in {**_SETTINGS, **settings, **ours}.items())
    file = folder / CONFIGURATION
    with explained("write", file):
        file.touch(mode=0o600)  # it contains the password
        file.write_text("".join(lines))
    return file


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"')
