"""Passing bytes between two sockets: for those who connected before their server was there."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress

_CHUNK = 65536


def relay(client: socket.socket, address: tuple[str, int]) -> None:
    """Connect a client with a server at a TCP address, in threads of their own. The client is closed at the end, at
    once when the server cannot be reached."""
    client.setblocking(True)
    try:
        server = socket.create_connection(address, timeout=5)
    except OSError:
        client.close()
        return
    server.settimeout(None)
    left = threading.Semaphore(0)
    for source, target in ((client, server), (server, client)):
        threading.Thread(target=_pass_on, args=(source, target, left), daemon=True).start()
    threading.Thread(target=_close_after, args=(left, client, server), daemon=True).start()


def _pass_on(source: socket.socket, target: socket.socket, left: threading.Semaphore) -> None:
    with suppress(OSError):
        while data := source.recv(_CHUNK):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)
    left.release()


def _close_after(left: threading.Semaphore, *sockets: socket.socket) -> None:
    for _ in sockets:
        left.acquire()
    for each in sockets:
        each.close()
