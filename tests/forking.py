"""A process that has imported a program already and runs it again and again, each time in a fork of its own.

`python forking.py FD PACKAGE` serves the requests that come over the socket FD (see forked.py). A fork costs a tenth of
a new interpreter with its imports. A command cannot tell the difference: its session, arguments, environment, folder,
umask and output are its own, and it ends as an interpreter does.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import os
import pickle
import pkgutil
import re
import runpy
import select
import signal
import socket
import struct
import sys
import threading
import traceback
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

HEADER = struct.Struct("!Q")  # the size of a request
STARTED = struct.Struct("!i")  # the reply's first part: the fork's pid
ENDED = struct.Struct("!i")  # its second part: the exit status, or the signal, negative
INDENTED = re.compile(r"^\s+(?:from ([\w.]+) import|import ([\w.]+))", re.MULTILINE)
NOT_IMPORTED = re.compile(r"testgrove\.(documented|system\.coverage_start)|.*__main__")


def preload(package: str) -> None:
    """Import a package whole; of testgrove also what its functions import when they are called."""
    found = pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}.")
    names = [package, *(each.name for each in found if not NOT_IMPORTED.match(each.name))]
    for name in names:
        with suppress(ImportError):
            module = importlib.import_module(name)
            if name.startswith("testgrove"):
                later = INDENTED.findall(Path(str(module.__file__)).read_text(encoding="utf-8"))
                names += [other for pair in later for other in pair if other and other not in names]
    if package == "testgrove":
        parse = importlib.import_module("testgrove.core.settings.parse").parse
        parse("", Path("testgrove.toml"), table=False)  # msgspec looks at the types of settings at the first ones
    gc.collect()
    gc.freeze()


def serve(requests: socket.socket) -> list[str] | None:
    """Fork for each request. Returns the words of the program in a fork, and nothing when the client has gone."""
    replies: dict[int, int] = {}
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    while True:
        ready, _, _ = select.select([requests, reader], [], [])
        if reader in ready:
            os.read(reader, 4096)
            reap(replies)
        if requests not in ready:
            continue
        header, descriptors, *_ = socket.recv_fds(requests, HEADER.size, 3)
        if not header:
            return None
        request = pickle.loads(receive(requests, *HEADER.unpack(header)))
        pid = os.fork()
        if not pid:
            requests.detach()
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            return become(*request, *descriptors[:2])
        replies[pid] = descriptors.pop()
        for descriptor in descriptors:
            os.close(descriptor)
        os.write(replies[pid], STARTED.pack(pid))


def receive(requests: socket.socket, size: int) -> bytes:
    """Exactly so many bytes."""
    parts: list[bytes] = []
    while size:
        parts.append(requests.recv(size))
        size -= len(parts[-1])
    return b"".join(parts)


def reap(replies: dict[int, int]) -> None:
    """Tell the client of each fork that has ended how it ended."""
    with suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            reply = replies.pop(ended[0])
            with suppress(BrokenPipeError):
                os.write(reply, ENDED.pack(os.waitstatus_to_exitcode(ended[1])))
            os.close(reply)


def become(words: list[str], folder: str, environment: dict[str, str], umask: int, out: int, err: int) -> list[str]:
    """Make this fork what the new process would have been."""
    os.setsid()
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(out, 1)
    os.dup2(err, 2)
    os.closerange(3, min(os.sysconf("SC_OPEN_MAX"), 1 << 16))
    os.chdir(folder)
    os.umask(umask)
    os.environ.clear()
    os.environ.update(environment)
    if environment.get("PYTHONUNBUFFERED"):
        for stream in (sys.stdout, sys.stderr):
            stream.reconfigure(write_through=True)  # type: ignore[union-attr]
    sys.dont_write_bytecode = bool(environment.get("PYTHONDONTWRITEBYTECODE"))
    sys.path[1:1] = [path for path in environment.get("PYTHONPATH", "").split(os.pathsep) if path]
    sys.orig_argv = [sys.executable, *words]
    return words


def run(words: list[str]) -> None:
    """What `python WORD…` does: `-m MODULE ARGUMENT…` or `FILE ARGUMENT…`."""
    if words[0] == "-m":
        sys.argv = words[1:]
        sys.path[0] = str(Path.cwd())
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = words
        sys.path[0] = str(Path(words[0]).parent)
        runpy.run_path(words[0], run_name="__main__")


def end(words: list[str]) -> NoReturn:
    """Run a program and end as an interpreter does, but for the hundred modules that it would take apart."""
    status: object = 0
    try:
        run(words)
    except SystemExit as error:
        status = error.code
    except BaseException:  # noqa: BLE001 - as an interpreter
        traceback.print_exc()
        status = 1
    if status is not None and not isinstance(status, int):
        sys.stderr.write(f"{status}\n")
        status = 1
    threading._shutdown()  # type: ignore[attr-defined]  # as multiprocessing ends its forks
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            status = 120
    os._exit(status & 0xFF if status else 0)


if __name__ == "__main__":
    preload(sys.argv[2])
    received = serve(socket.socket(fileno=int(sys.argv[1])))
    if received:
        end(received)
