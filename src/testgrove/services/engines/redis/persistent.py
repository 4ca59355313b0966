"""Redis or Valkey under a project's keeper: an instance for each worktree, its data on disk."""

from __future__ import annotations

import re
import signal
import socket
from dataclasses import replace
from typing import TYPE_CHECKING

from testgrove.core.model import DatabaseAccess
from testgrove.errors import UnavailableError
from testgrove.services.engines.redis.server import configuration
from testgrove.services.keeper.service import PersistentService
from testgrove.system.files import atomic_write, explained

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from testgrove.core.secret import Secret
    from testgrove.services.engines.redis.binaries import RedisBinary

# After a kill -9 at most the last second is lost; after an orderly stop, nothing.
_SETTINGS = {"appendonly": "yes", "appendfsync": "everysec"}


def write_instance(
    folder: Path, *, binary: RedisBinary, port: int, password: Secret, settings: Mapping[str, str]
) -> DatabaseAccess:
    """Write the description of an instance to a service's existing folder, for the keeper to start.

    Raises UsageError (``invalid-setting``).
    """
    file = folder / "redis.conf"
    text = configuration(None, port, password, folder, _SETTINGS | dict(settings))
    with explained("write", file):
        file.touch(mode=0o600)  # it contains the password
        file.write_text(text)
    PersistentService(
        name=folder.name,
        what=f"{binary.product} {binary.version}",
        argv=(str(binary.path), str(file)),
        port=port,
        stop_signal=signal.SIGTERM,
        engine="redis",
    ).write(folder)
    return DatabaseAccess("redis", "0", "127.0.0.1", port, "default", password)


def move_instance(folder: Path, port: int) -> None:
    """The same instance on another port, from its next start on."""
    file = folder / "redis.conf"
    atomic_write(file, re.sub(r"(?m)^port .*$", f'port "{port}"', file.read_text()).encode(), mode=0o600)
    replace(PersistentService.read(folder), port=port).write(folder)


def empty_instance(access: DatabaseAccess) -> None:
    """Delete everything in an instance. Raises UnavailableError (``redis-failed``)."""
    try:
        with socket.create_connection((access.host, access.port), timeout=10) as client, client.makefile("rb") as lines:
            client.sendall(f"AUTH {access.user} {access.password.reveal()}\r\nFLUSHALL\r\n".encode())
            answers = [lines.readline(), lines.readline()]
    except OSError as error:
        raise UnavailableError(
            "redis-failed",
            f"the Redis at port {access.port} does not answer: {error}",
            hint="testgrove services start",
        ) from error
    for answer in answers:
        if not answer.startswith(b"+OK"):
            raise UnavailableError(
                "redis-failed", f"the Redis at port {access.port} returned an error: {answer[:200]!r}"
            )
