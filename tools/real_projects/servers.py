"""The servers that a project's CI would start as service containers: for the plain run only."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from real_projects.commands import clean_environment


@contextlib.contextmanager
def running(services: Sequence[str], folder: Path) -> Iterator[Mapping[str, str]]:
    """Start them, give `{redis_port}` and `{postgres_port}` for the variables, stop them."""
    with contextlib.ExitStack() as stack:
        values = {}
        for service in services:
            port = _free_port()
            values[f"{service}_port"] = str(port)
            stack.enter_context(_SERVERS[service](port, folder / service))
        yield values


@contextlib.contextmanager
def _redis(port: int, folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    argv = ("redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder))
    with _process(argv, port, {}):
        yield


@contextlib.contextmanager
def _postgres(port: int, folder: Path) -> Iterator[None]:
    """With a superuser `postgres` and any password. PostgreSQL refuses root: it runs as the user `postgres` there."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    user: dict[str, str] = {}
    if os.getuid() == 0:
        shutil.chown(folder, "postgres", "postgres")
        user = {"user": "postgres"}
    binaries = max(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name))
    data = str(folder / "data")
    argv = (str(binaries / "initdb"), "-D", data, "-U", "postgres", "--auth=trust", "--no-sync")
    subprocess.run(argv, check=True, capture_output=True, cwd="/", env=clean_environment(LC_ALL="C.UTF-8"), **user)
    start = (str(binaries / "postgres"), "-D", data, "-p", str(port), "-h", "127.0.0.1", "-k", str(folder), "-F")
    with _process(start, port, user):
        yield


@contextlib.contextmanager
def _process(argv: Sequence[str], port: int, user: Mapping[str, str]) -> Iterator[None]:
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/", **user)
    try:
        _wait(port)
        yield
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(port: int) -> None:
    end = time.monotonic() + 30
    while time.monotonic() < end:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise RuntimeError(f"no server on port {port} within 30 seconds")


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port


_SERVERS = {"redis": _redis, "postgres": _postgres}
