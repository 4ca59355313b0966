"""A worktree's own Redis or Valkey under a project's keeper."""

from __future__ import annotations

import re
import socket
from dataclasses import replace
from typing import TYPE_CHECKING

from testgrove.errors import UnavailableError
from testgrove.services.engines.redis.server import CONFIGURATION
from testgrove.services.keeper.service import PersistentService
from testgrove.system.files import atomic_write

if TYPE_CHECKING:
    from pathlib import Path

    from testgrove.core.model import DatabaseAccess


def move_instance(folder: Path, port: int) -> None:
    """The same instance on another port, from its next start on."""
    file = folder / CONFIGURATION
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
