"""Commands that run in a fork of a process that has imported them already (see forking.py), in place of Popen's."""

from __future__ import annotations

import os
import pickle
import re
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

from forking import ENDED, HEADER, STARTED

PACKAGES = {"-m testgrove": "testgrove", "-m pytest": "_pytest", "killing.py": "testgrove"}  # what each imports
AT_START = re.compile(
    r"PYTHON(?!PATH|DONTWRITE|UNBUFFERED)|LC_|LANG|TZ$|LD_|MALLOC_"
)  # read by an interpreter when it starts
interpreters = {sys.executable}  # those whose programs are forked; a server is worth it from the second program on
_servers: dict[tuple[str, str], Server] = {}
_lock = threading.Lock()


class Server:
    """A process that forks. Ends with this one: its socket is closed then."""

    def __init__(self, python: str, package: str) -> None:
        self.variables = at_start(os.environ)
        self.pid = os.getpid()
        self._socket, theirs = socket.socketpair()
        program = Path(__file__).with_name("forking.py")
        words = [python, str(program), str(theirs.fileno()), package]
        env = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONUNBUFFERED")}
        with theirs:
            self.process = subprocess.Popen(
                words, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()], start_new_session=True,
            )  # fmt: skip

    def send(self, request: object, *descriptors: int) -> None:
        data = pickle.dumps(request)
        socket.send_fds(self._socket, [HEADER.pack(len(data))], descriptors)
        self._socket.sendall(data)

    def close(self) -> None:
        self._socket.close()
        self.process.wait(10)


class Forked:
    """A command in a fork, with the part of Popen's interface that tests use."""

    def __init__(self, server: Server, words: Sequence[str], cwd: Path, env: Mapping[str, str], merged: bool) -> None:
        self.args = list(words)
        self.returncode: int | None = None
        self._reply, theirs = socket.socketpair()
        self._out, out = os.pipe()
        self._err, err = os.pipe()
        try:
            server.send((self.args, str(cwd), dict(env), _umask()), out, out if merged else err, theirs.fileno())
        finally:
            theirs.close()
            os.close(out)
            os.close(err)
        self.pid: int = STARTED.unpack(self._reply.recv(STARTED.size, socket.MSG_WAITALL))[0]

    def communicate(self, timeout: float) -> tuple[str, str]:
        """All that it writes, and wait for its end. Raises subprocess.TimeoutExpired."""
        deadline = time.monotonic() + timeout
        parts: dict[int, list[bytes]] = {self._out: [], self._err: []}
        with selectors.DefaultSelector() as selector:
            for descriptor in parts:
                selector.register(descriptor, selectors.EVENT_READ)
            while selector.get_map():
                ready = selector.select(deadline - time.monotonic())
                if not ready:
                    raise subprocess.TimeoutExpired(self.args, timeout)
                for key, _ in ready:
                    parts[key.fd].append(os.read(key.fd, 1 << 16))
                    if not parts[key.fd][-1]:
                        selector.unregister(key.fd)
        self.wait(deadline - time.monotonic())
        out, err = (
            b"".join(each).decode(errors="replace").replace("\r\n", "\n").replace("\r", "\n") for each in parts.values()
        )
        return out, err

    def wait(self, timeout: float) -> int:
        """Its exit status, or the signal that ended it, negative. Raises subprocess.TimeoutExpired."""
        if self.returncode is None:
            self._reply.settimeout(max(timeout, 0.001))
            try:
                self.returncode = ENDED.unpack(self._reply.recv(ENDED.size, socket.MSG_WAITALL))[0]
            except TimeoutError:
                raise subprocess.TimeoutExpired(self.args, timeout) from None
        return self.returncode

    def kill(self) -> None:
        """End it, if it has not ended; its pid is its own until the server has been told to forget it."""
        if self.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(subprocess.TimeoutExpired):
            self.wait(10)
        os.close(self._out)
        os.close(self._err)
        self._reply.close()


def start(argv: Sequence[str], *, cwd: Path, env: Mapping[str, str], merged: bool = False) -> Forked | None:
    """Fork a program, with stdin empty and its output captured; None where only a new process will do.

    merged: what it writes to stderr comes with its stdout.
    """
    words = " ".join(argv[1:3]) if list(argv[1:2]) == ["-m"] else Path(*argv[1:2]).name
    if argv[0] not in interpreters or words not in PACKAGES:
        return None
    key = argv[0], PACKAGES[words]
    with _lock:
        server = _servers.get(key)
        if server is None or server.pid != os.getpid():
            server = _servers[key] = Server(*key)
        return Forked(server, argv[1:], cwd, env, merged) if at_start(env) == server.variables else None


def close() -> None:
    """End the servers: what their forks have used is counted as this process's children's then."""
    while _servers:
        _servers.popitem()[1].close()


def at_start(env: Mapping[str, str]) -> dict[str, str]:
    """The variables that an interpreter reads when it starts."""
    return {name: value for name, value in env.items() if AT_START.match(name)}


def _umask() -> int:
    with Path("/proc/self/status").open(encoding="ascii") as status:
        return next(int(line.split()[1], 8) for line in status if line.startswith("Umask:"))
