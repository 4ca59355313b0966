"""Containers of an engine, as `docker` lists them."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Collection, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from testgrove.core.runs.container_owner import Container
from testgrove.errors import TestgroveError
from testgrove.system.processes.process import run

# What determines the engine that `docker` uses.
VARIABLES = ("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG")
_SOCKET = Path("/var/run/docker.sock")
_TIMEOUT = 10.0  # seconds


class Engine:
    """The engine that `docker` speaks to in an environment. id: its own, the same in every environment. slack: seconds
    by which moments may be wrong."""

    def __init__(self, environ: Mapping[str, str], info: Mapping[str, Any], began: float, ended: float) -> None:
        self._environ = environ
        self.id = str(info.get("ID", ""))
        clock = _seconds(str(info.get("SystemTime", "")))
        self._ahead = None if clock is None else clock - (began + ended) / 2
        self.slack = (ended - began) / 2 + 0.01

    def ids(self) -> frozenset[str]:
        """All containers, stopped ones included. Raises TestgroveError where it does not answer."""
        words = ("docker", "ps", "--all", "--quiet", "--no-trunc")
        return frozenset(run(words, env=self._environ, timeout=_TIMEOUT).stdout.split())

    def describe(self, ids: Collection[str]) -> list[Container]:
        """Those that are still there. Raises TestgroveError where it does not answer."""
        if not ids:
            return []
        words = ("docker", "inspect", "--type", "container", "--format", "{{json .}}", *sorted(ids))
        done = run(words, env=self._environ, timeout=_TIMEOUT, check=False)
        return [self._container(json.loads(line)) for line in done.stdout.splitlines() if line.startswith("{")]

    def publishes(self, port: int, since: float) -> bool:
        """Return whether a container made since that moment publishes a port. Raises TestgroveError as ids() does."""
        words = ("docker", "ps", "--quiet", "--no-trunc", "--filter", f"publish={port}")
        found = self.describe(run(words, env=self._environ, timeout=_TIMEOUT).stdout.split())
        return any(each.created is not None and each.created >= since - self.slack for each in found)

    def _container(self, found: Mapping[str, Any]) -> Container:
        config: Mapping[str, Any] = found.get("Config") or {}
        created = _seconds(str(found.get("Created", "")))
        return Container(
            id=str(found["Id"]),
            name=str(found.get("Name", "")).lstrip("/"),
            image=str(config.get("Image", "")),
            created=None if created is None or self._ahead is None else created - self._ahead,
            labels={str(key): str(value) for key, value in (config.get("Labels") or {}).items()},
            mounts=tuple(Path(each["Source"]) for each in found.get("Mounts") or () if each.get("Source")),
        )


def published_since(port: int, moment: float, environ: Mapping[str, str]) -> bool | None:
    """Return whether a container that was made after a moment publishes a port of this machine; None where there may be
    an engine, and it cannot be asked."""
    try:
        engine = find_engine(environ)
        if engine is not None:
            return engine.publishes(port, moment)
    except TestgroveError:
        return None
    return None if _may_answer(environ) else False


def find_engine(environ: Mapping[str, str]) -> Engine | None:
    """The engine of an environment, where there is one that answers."""
    if not shutil.which("docker", path=environ.get("PATH")) or not _may_answer(environ):
        return None
    began = time.time()
    try:
        done = run(("docker", "info", "--format", "{{json .}}"), env=environ, timeout=_TIMEOUT)
        info = json.loads(done.stdout)
    except (TestgroveError, ValueError):
        return None
    return None if info.get("ServerErrors") else Engine(environ, info, began, time.time())


def _may_answer(environ: Mapping[str, str]) -> bool:
    """Return whether an engine may exist: its default socket exists, or a variable names another one."""
    if environ.get("DOCKER_HOST") or environ.get("DOCKER_CONTEXT") or _SOCKET.exists():
        return True
    folder = environ.get("DOCKER_CONFIG") or Path(environ.get("HOME", "/")) / ".docker"
    try:
        return "currentContext" in (Path(folder) / "config.json").read_text(errors="replace")
    except OSError:
        return False


def _seconds(text: str) -> float | None:
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return None
