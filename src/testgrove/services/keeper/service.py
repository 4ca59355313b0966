"""A service of a keeper, as a file: how to start it, how to check that it is ready, and how to stop it."""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from testgrove.core.frozen import frozen
from testgrove.errors import PreconditionError
from testgrove.system.files import atomic_write
from testgrove.system.listeners import listeners
from testgrove.system.trusted_paths import owner_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SPEC = "service.json"
LOG = "server.log"
_ESTABLISHED = "01"


@frozen
class PersistentService:
    """How to run a server. Paths are relative to the service's folder, or absolute.

    what: its name in messages. stop_signal: what ends it in good order. user: uid and gid to run as. stale: files that
    a killed server leaves and the next start stumbles over. ready_file, ready: it is ready when the file matches the
    pattern, in which ``PID`` stands for its process id; without them, when it listens on its port. engine: of what the
    server is.
    """

    name: str
    what: str
    argv: tuple[str, ...]
    port: int
    stop_signal: int
    user: tuple[int, int] | None = None
    stale: tuple[str, ...] = ()
    ready_file: str = ""
    ready: str = ""
    engine: str = ""

    def write(self, folder: Path) -> None:
        """Keep it in the service's folder."""
        atomic_write(folder / SPEC, json.dumps(asdict(self), indent=2).encode(), mode=0o600)

    @classmethod
    def read(cls, folder: Path) -> PersistentService:
        """Return the service of a folder. Raises PreconditionError (``no-such-service``; ``not-ours``)."""
        for path in (folder, folder / SPEC):  # its content is executed
            if owner_of(path) not in (None, os.geteuid()):
                raise PreconditionError("not-ours", f"{path} belongs to another user", hint=f"ls -ld {path}")
        try:
            values = json.loads((folder / SPEC).read_text())
        except (OSError, ValueError) as error:
            raise PreconditionError(
                "no-such-service", f"service '{folder.name}' not found", hint="testgrove services list"
            ) from error
        values |= {"argv": tuple(values["argv"]), "stale": tuple(values["stale"])}
        return cls(**values | {"user": tuple(values["user"]) if values["user"] else None})


def engine_in(folder: Path) -> str:
    """The engine of a service's folder. Before it was written down, folders began with its name. Raises as read()."""
    return PersistentService.read(folder).engine or folder.name.partition("-")[0]


def services_in(folder: Path) -> Iterator[PersistentService]:
    """All services that a keeper's folder holds, by name."""
    for path in sorted(folder.glob(f"*/{SPEC}")):
        yield PersistentService.read(path.parent)


@frozen
class PersistentProgram:
    """A kept service as a host starts it; see services.base.Program."""

    service: PersistentService
    folder: Path

    @property
    def what(self) -> str:
        """Implement Program."""
        return self.service.what

    @property
    def port(self) -> int:
        """Implement Program."""
        return self.service.port

    def argv(self) -> Sequence[str]:
        """Implement Program."""
        return self.service.argv

    def is_ready(self, pid: int) -> bool:
        """Implement Program. An answer at the port proves nothing: the listener must be this server's process."""
        if not self.service.ready_file:
            return any(each.descends_from(pid) for each in listeners(self.port))
        try:
            text = (self.folder / self.service.ready_file).read_text()
        except FileNotFoundError:
            return False
        return re.match(self.service.ready.replace("PID", str(pid)), text) is not None


def has_clients(port: int) -> bool:
    """Return whether a client is connected to a port of this machine's loopback address."""
    suffix = f":{port:04X}"
    with Path("/proc/net/tcp").open(encoding="ascii") as table:
        return any(
            fields[1].endswith(suffix) and fields[3] == _ESTABLISHED for line in table if (fields := line.split())
        )
