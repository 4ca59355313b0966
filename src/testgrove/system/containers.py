"""Containers on this machine, as far as `docker` tells."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from testgrove.errors import TestgroveError
from testgrove.system.process import run

_SOCKET = Path("/var/run/docker.sock")
_REAPER = "testcontainers/ryuk"  # goes by itself, seconds after its client
_TIMEOUT = 10.0  # seconds


def is_docker_here() -> bool:
    """Whether there is a docker to ask."""
    return shutil.which("docker") is not None and bool(os.environ.get("DOCKER_HOST") or _SOCKET.exists())


def containers() -> dict[str, str]:
    """All containers, stopped ones included: name and image, by id. None at all where docker does not answer."""
    words = ("docker", "ps", "--all", "--no-trunc", "--format", "{{.ID}}\t{{.Names}}\t{{.Image}}")
    try:
        done = run(words, timeout=_TIMEOUT)
    except TestgroveError:
        return {}
    found = {}
    for line in done.stdout.splitlines():
        key, _, rest = line.partition("\t")
        name, _, image = rest.partition("\t")
        if _REAPER not in image:
            found[key] = f"{name} ({image})"
    return found
