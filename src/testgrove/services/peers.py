"""Who is at the other end of a Unix socket."""

from __future__ import annotations

import os
import socket

_PEER = 12  # bytes of struct ucred: pid, uid, gid


def is_of_our_user(client: socket.socket) -> bool:
    """Whether the process that connected runs as our user."""
    credentials = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER)
    return int.from_bytes(credentials[4:8], "little") == os.geteuid()
