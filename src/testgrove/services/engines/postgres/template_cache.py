"""Templates: the result of a migration, built once and kept as a packed data directory.

How one is built, and why it can be trusted:

1. Its name is its fingerprint. The first command that needs it holds its lock; the others wait and then use it.
2. A server starts on a base cluster in a folder with a temporary name. The migration runs as a role without superuser
   rights. After all clients have left, the database is sealed and gets its final name last.
3. The server is stopped with a checkpoint; the data directory is packed under a temporary name and renamed last.
4. An archive without its last member, or with another checksum, counts as missing. Temporary names whose lock is free
   belong to killed builders; the next builder removes them.
"""

from __future__ import annotations

import os
import time
from contextlib import contextmanager, suppress
from dataclasses import replace
from hashlib import blake2b
from secrets import token_hex
from typing import TYPE_CHECKING

from testgrove.core.secret import Secret
from testgrove.errors import UnavailableError
from testgrove.services.archive import pack, read_manifest
from testgrove.services.engines.postgres import sql
from testgrove.services.engines.postgres.server import (
    EMPTY,
    ENCODING,
    LOCALE,
    PostgresServer,
    Template,
    require_driver,
)
from testgrove.services.failures import Failures
from testgrove.services.shared_memory import release_shared_memory
from testgrove.services.trimming import trim
from testgrove.system.deletion import delete_tree
from testgrove.system.files import explained

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from testgrove.core.model import DatabaseAccess
    from testgrove.services.engines.postgres.installation import Installation
    from testgrove.system.locks import LockFile, OnWait

    OnPort = Callable[[Callable[[int], PostgresServer]], PostgresServer]

MAX_TEMPLATES = 20  # archives
MAX_DAYS = 30
_TIMEOUT = 1800.0  # seconds for another command that builds a template
_BASE = "base-"
_KEY = 16  # characters of a name that are used in temporary names and locks


class TemplateCache:
    """Packed data directories, shared by all runs of a user.

    directory: where they are kept. locks: for builders. work: a folder with a short path, in memory for speed. Both
    are among the host's own folders. installation: with the project's extensions and settings, which are part of the
    fingerprint that ensure() receives. fresh: replace existing templates instead of using them.
    """

    def __init__(
        self,
        directory: Path,
        locks: LockFile,
        installation: Installation,
        *,
        work: Path,
        fresh: bool = False,
    ) -> None:
        self._directory = directory
        self._locks = locks
        self._work = work
        # Old segments would only make the archive larger.
        self._installation = replace(installation, settings={**installation.settings, "wal_recycle": "off"})
        self._failures = Failures()
        self._fresh = fresh
        self._built: set[str] = set()  # by ourselves

    def ensure(
        self,
        fingerprint: str,
        build: Callable[[DatabaseAccess], object],
        *,
        on_port: OnPort,
        on_wait: OnWait | None = None,
    ) -> Template:
        """Return the template with this fingerprint; build it if it does not exist.

        build: migrates the empty database that it receives, and disconnects. on_port: starts the build's server on a
        leased port. on_wait: called repeatedly with the reason while another builder works; may raise. An exception of
        build is raised here and in the callers that waited for it; the unfinished template is deleted.
        """
        require_driver()

        def make(work: Path) -> tuple[Path, Template]:
            return self._migrate(fingerprint, build, work, on_port)

        return self._get(fingerprint, make, on_wait, _TIMEOUT)

    def _get(
        self,
        name: str,
        make: Callable[[Path], tuple[Path, Template]],
        on_wait: OnWait | None,
        timeout: float,
    ) -> Template:
        if template := self.find(name):
            return template
        with explained("create the folder", self._directory):
            self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        began = time.monotonic()
        what = f"the database template {name[:_KEY]}, which another command is building"
        with self._locks.hold(_lock(name), what=what, timeout=timeout, on_wait=on_wait):
            if template := self.find(name):
                return template
            with self._failures.remembered(name, began):
                self._remove_leftovers(name)
                return self._make(name, make)

    def find(self, name: str) -> Template | None:
        """Return the template with this fingerprint, or None."""
        if self._fresh and name not in self._built and not name.startswith(_BASE):
            return None
        path = self._archive(name)
        manifest = read_manifest(path)
        if manifest is None:
            return None
        with suppress(FileNotFoundError):
            os.utime(path)  # the time of its last use
        return Template(
            path, manifest["database"], manifest["role"], Secret(manifest["password"]), tuple(manifest["last"])
        )

    def _make(self, name: str, make: Callable[[Path], tuple[Path, Template]]) -> Template:
        temporary = self._directory / f"{name}.{token_hex(4)}.tmp"
        try:
            with self._workplace(name) as work:
                data, template = make(work)
                manifest = {
                    "database": template.database,
                    "role": template.role,
                    "password": template.password.reveal(),
                }
                with explained("keep the database template in", self._directory):
                    _trim(data)
                    template = replace(template, last=_databases(data))
                    pack(data, temporary, manifest, last=template.last)
                    temporary.rename(template.path)
                self._built.add(name)
        finally:
            temporary.unlink(missing_ok=True)
        trim(self._directory, "*.tar", most=MAX_TEMPLATES, days=MAX_DAYS)
        return template

    def _migrate(
        self, fingerprint: str, build: Callable[[DatabaseAccess], object], work: Path, on_port: OnPort
    ) -> tuple[Path, Template]:
        base = self.base()
        server = on_port(lambda port: self._installation.start(base, port, work))
        try:
            sql.lower_password_cost(server.endpoint)
            access = server.create_database(f"building_{fingerprint[:_KEY]}", owner="a template that is being built")
            build(access)
            name = f"template_{fingerprint[:_KEY]}"
            note = sql.seal(server.endpoint, access, name)
            server.stop(clean=True)
        finally:
            server.stop()
        _check_closed(work / "data")
        path = self._archive(fingerprint)
        return work / "data", Template(path, name, access.user, base.password, note=note)

    def base(self) -> Template:
        """The cluster that initdb makes, which templates are built on."""
        mark = f"{self._installation.binaries.build}\n{ENCODING}\n{LOCALE}"
        name = f"{_BASE}{blake2b(mark.encode(), digest_size=8).hexdigest()}"

        def make(work: Path) -> tuple[Path, Template]:
            data, password = self._installation.init_cluster(work)
            return data, Template(self._archive(name), EMPTY, "", password)

        return self._get(name, make, None, 120)

    @contextmanager
    def _workplace(self, name: str) -> Iterator[Path]:
        work = self._work / f"build-{name[:_KEY]}-{token_hex(4)}"
        with explained("use", work):
            work.mkdir(mode=0o700, parents=True)
        try:
            yield work
        finally:
            delete_tree(work, within=self._work)

    def _archive(self, name: str) -> Path:
        return self._directory / f"{name}.tar"

    def _remove_leftovers(self, name: str) -> None:
        """Remove what builders that were killed have left. Our own lock is held, so what bears it is stale too."""
        left = [(path.name[:_KEY], path) for path in self._directory.glob("*.tmp")]
        left += [(path.name.removeprefix("build-")[:_KEY], path) for path in self._work.glob("build-*")]
        for key, path in left:
            lock = None
            if key != name[:_KEY] and (lock := self._locks.try_acquire(_lock(key))) is None:
                continue
            try:
                release_shared_memory(path / "data")
                delete_tree(path, within=path.parent)
            finally:
                if lock:
                    lock.release()


def _lock(name: str) -> str:
    return f"template {name[:_KEY]}"


def _trim(data: Path) -> None:
    """Remove the files that a start would remove, so that unpacking after the start does not restore them."""
    for folder in (data / "global", *(data / "base").iterdir()):
        (folder / "pg_internal.init").unlink(missing_ok=True)


def _databases(data: Path) -> tuple[str, ...]:
    """Return the folders that a server does not read until a client connects."""
    return tuple(sorted(str(path.relative_to(data)) for path in (data / "base").iterdir()))


def _check_closed(data: Path) -> None:
    if (data / "postmaster.pid").exists():
        raise UnavailableError("template-not-closed", "the server did not close the connections to the new template")
