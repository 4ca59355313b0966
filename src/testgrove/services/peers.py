"""Who is at the other end of a Unix socket."""

from __future__ import annotations

import os
import socket

_PEER = 12  # bytes of struct ucred: pid, uid, gid


def is_of_our_user(connection: socket.socket) -> bool:
    """Return whether the process at the other end, which connected or listens, runs as our user."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER)
    return int.from_bytes(credentials[4:8], "little") == os.geteuid()
