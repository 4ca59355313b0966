"""PostgreSQL on an external server, by URL: databases that are created there, and how they are dropped.

Roles are global to a server, so none is created: every database belongs to the role of the URL.
"""

from __future__ import annotations

import secrets
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from testgrove.core.leases import lease_by_mark
from testgrove.core.model import DatabaseAccess, Lease, LeaseKind
from testgrove.core.secret import Secret
from testgrove.core.server_url import ServerUrl, parse_server_url
from testgrove.errors import PreconditionError, TestgroveError
from testgrove.services.base import Endpoint
from testgrove.services.engines.postgres import external_session
from testgrove.services.engines.postgres import external_sql as sql
from testgrove.services.engines.postgres import external_templates as templates
from testgrove.services.engines.postgres.lazy_pool import LEAST, MOST, LazyPool
from testgrove.services.engines.postgres.sql import (
    NAME_LIMIT,
    add_extensions,
    connect_as_owner,
    copy_settings,
    reported,
)
from testgrove.services.failures import Failures
from testgrove.services.owner_marks import Kind, Mark, now, token_of
from testgrove.services.provider import Allocator, Traits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from psycopg import Connection

    from testgrove.core.leases import Leases
    from testgrove.core.settings.types import Service
    from testgrove.services.engines.postgres.external_pool import ExternalPool

_FRESH_DAYS = 5 / 1440
_BUILDING = 1800.0  # seconds for another command that builds a template
_UNDO_TIMEOUT = 5  # seconds; a server that is gone must not hold up every command for long


class ExternalPostgres:
    """An external server, as one command uses it. Safe to use from several threads.

    Call open() first and close() at the end: other commands then drop the databases of ``kind`` run that this owner
    left.
    """

    note = ""

    def __init__(self, url: ServerUrl, *, version: str = "", extensions: tuple[str, ...] = ()) -> None:
        self.url = url
        self._wanted, self._extensions = version, extensions
        self._lock = secrets.randbits(62)
        self._owner: Connection[Any]
        self._guard = threading.Lock()
        self._failures = Failures()

    def open(self) -> None:
        """Connect, see whether the server will do, become a living owner.

        Raises UnavailableError (``server-unreachable``), PreconditionError (``no-createdb``, ``server-too-old``,
        ``missing-extension``, ``other-version``).
        """
        owner = external_session.connect(self.url)
        try:
            with reported(f"use {self.url.location}"):
                external_session.check_server(owner, self.url)
                version = external_session.full_version(owner)
                self._check_requirements(version, external_session.missing_extensions(owner, self._extensions))
                external_session.take_lock(owner, self._lock)
                self.strategy = external_session.strategy(owner)
                self._base = external_session.base(owner)
        except BaseException:
            owner.close()
            raise
        self._owner = owner
        password = Secret(owner.info.password or "")  # wherever it was found: the URL, PGPASSWORD, ~/.pgpass
        self.endpoint = Endpoint("postgres", version, self.url.host, self.url.port, owner.info.user, password)

    def _check_requirements(self, version: str, missing: list[str]) -> None:
        if self._wanted and not f"{version}.".startswith(f"{self._wanted}."):
            raise PreconditionError(
                "other-version",
                f"{self.url.location} is PostgreSQL {version}, but the settings require version = '{self._wanted}'",
            )
        if missing:
            raise PreconditionError(
                "missing-extension",
                f"{self.url.location} lacks the extension {', '.join(missing)}",
                hint="ask the server's administrator to install it",
            )

    def traits(self) -> Traits:
        """Return the properties of the server that a migration's result depends on, for a fingerprint."""
        at = self.endpoint
        engine = f"postgres {at.version} by URL, {self._base}, role {at.user}"
        return Traits(engine, extensions=self._extensions)

    def pool(self, find: Callable[[], str], leases: Leases, owner: str) -> Allocator:
        """A pool of clones for tests. find: the template's name, which may have to be built."""

        def make() -> ExternalPool:
            from testgrove.services.engines.postgres.external_pool import ExternalPool, room  # noqa: PLC0415 - most suites never ask for one

            return ExternalPool(self, find(), owner=owner, leases=leases, limit=room(self, least=LEAST, most=MOST))

        pool = LazyPool(make)
        return Allocator(pool.open, pool.close)

    def sweep(self) -> list[str]:
        """Drop what runs that are gone have left here, also those of other machines; the names."""
        with self._session() as session:
            return sql.sweep(session)

    def close(self) -> None:
        """Disconnect: other commands then see this owner as gone. A second call does nothing."""
        self._owner.close()

    @contextmanager
    def _session(self) -> Iterator[Connection[Any]]:
        """A connection for one piece of work, while the owner's lives."""
        self.keep_alive()
        with reported(f"use {self.url.location}"), external_session.connect(self.url) as session:
            yield session

    def keep_alive(self) -> None:
        """Our lock went with its connection when the server was restarted, and we were dead for others."""
        from psycopg import Error  # noqa: PLC0415 - heavy, and an extra

        with self._guard:
            try:
                self._owner.execute("SELECT 1")
            except Error:
                self._owner.close()
                self._owner = external_session.connect(self.url)
                external_session.take_lock(self._owner, self._lock)

    def ensure_template(
        self,
        fingerprint: str,
        build: Callable[[DatabaseAccess], object],
        *,
        leases: Leases,
        on_wait: Callable[[str], object] | None = None,
        on_note: Callable[[str], object] | None = None,
    ) -> str:
        """Return the name of the template with this fingerprint; build it if it does not exist.

        build: migrates the empty database that it receives, and disconnects. on_wait: called repeatedly with the
        reason while another command, on any machine, builds it; may raise. An exception of build is raised here and in
        the callers that waited for it; the unfinished template is dropped.
        """
        name, began = f"testgrove_template_{fingerprint[:24]}", time.monotonic()
        wait = partial(on_wait, "the database template, which another command is building") if on_wait else None
        with (
            self._session() as session,
            sql.locked(session, f"the template {name}", timeout=_BUILDING, on_wait=wait),
        ):
            if self._exists(session, name):
                return name
            with self._failures.remembered(name, began):
                note = self._build(session, name, build, leases)
            if note and on_note is not None:
                on_note(note)
            templates.trim(session)
        return name

    def _exists(self, session: Connection[Any], name: str) -> bool:
        found = sql.find(session, name)
        if found is None:
            return False
        sql.refuse_unmarked(found, self.url)
        if found.mark is not None and found.mark.age_days() > _FRESH_DAYS:  # it waits for those who are cloning it
            sql.set_mark(session, name, replace(found.mark, used=now()))
        return True

    def _build(
        self, session: Connection[Any], name: str, build: Callable[[DatabaseAccess], object], leases: Leases
    ) -> str:
        token = secrets.token_hex(8)
        temporary = f"testgrove_building_{token}"
        lease = self._lease(temporary, temporary, token)
        leases.record(lease)
        with self._rolled_back_on_error(session, lease, leases):
            with sql.locked(session, f"the maker {token}", timeout=60.0):
                mark = self.mark("building", token, f"building {name}")
                sql.create(session, temporary, "template1", "", mark)
            self._add_extensions(temporary)
            build(self.access(temporary))
            with sql.locked(session, f"the maker {token}", timeout=60.0):
                sealed = replace(mark, kind="template", owner="a template")
                note = templates.seal(session, self.access(temporary), name, sealed)
            leases.forget(lease)
        return note

    def create_database(
        self, name: str, *, template: str, owner: str, leases: Leases, kind: Kind = "run"
    ) -> DatabaseAccess:
        """Create a clone of a template, or of template1 if template is empty, under this name.

        While another testgrove command, on any machine, uses the name, a few letters are added. The lease is recorded
        before anything is created; the caller undoes it (drop_leased) and deletes it. owner: the name in the mark.
        kind: ``worktree`` for a database that outlives this command.

        Raises PreconditionError (``database-exists``) for a database of that name that is not testgrove's.
        """
        token = secrets.token_hex(8)
        with self._session() as session:
            for candidate in (name, f"{name[: NAME_LIMIT - 9]}_{token[:8]}"):
                lease = self._lease(candidate, f"testgrove_new_{token}", token)
                if candidate == name and not self._reserve_name(session, lease, leases):
                    continue
                if candidate != name:
                    leases.record(lease)
                if self._make(session, lease, template or "template1", self.mark(kind, token, owner), leases):
                    if not template:
                        self._add_extensions(candidate)
                    return self.access(candidate)
        raise PreconditionError("database-exists", f"the database {name} on {self.url.location} is in use")

    def _reserve_name(self, session: Connection[Any], lease: Lease, leases: Leases) -> bool:
        """Record a lease of the name unless another owner, on any machine, uses it; return whether it did."""
        found = sql.find(session, lease.data["name"])
        if found is not None and sql.refuse_unmarked(found, self.url) and not found.is_leftover:
            return False
        try:
            leases.record(lease)
        except PreconditionError as error:
            if error.code != "held":
                raise
            return False
        return True

    def _make(self, session: Connection[Any], lease: Lease, template: str, mark: Mark, leases: Leases) -> bool:
        temporary, name = lease.data["temporary"], lease.data["name"]
        with self._rolled_back_on_error(session, lease, leases):
            with sql.locked(session, f"the maker {mark.token}", timeout=60.0):
                sql.create(session, temporary, template, self.strategy, mark)
                with reported(f"copy the settings of {template}"):
                    copy_settings(session, template, temporary)
                made = sql.rename(session, temporary, name, self.url)
            if not made:
                sql.drop(session, **_names(lease.data))
                leases.forget(lease)
        return made

    @contextmanager
    def _rolled_back_on_error(self, session: Connection[Any], lease: Lease, leases: Leases) -> Iterator[None]:
        """Drop the leased database and delete the lease when the block raises."""
        try:
            yield
        except BaseException as error:
            try:
                if session.closed:
                    drop_leased(lease.data)
                else:
                    sql.drop(session, **_names(lease.data))
                leases.forget(lease)
            except TestgroveError as second:  # the lease stays, and is undone later
                error.add_note(f"and taking it back failed: {second}")
            raise

    def _add_extensions(self, name: str) -> None:
        if self._extensions:
            with reported(f"create extensions in {name}"):
                add_extensions(connect_as_owner(self.access(name)), self._extensions)

    def _lease(self, name: str, temporary: str, token: str) -> Lease:
        data = {"engine": "postgres", "url": self.url.text.reveal()}
        data |= {"name": name, "temporary": temporary, "token": token}
        return Lease(LeaseKind.DATABASE, f"{self.url.location} {name}", data)

    def mark(self, kind: Kind, token: str, owner: str) -> Mark:
        """A mark of this owner's. owner: for people."""
        return Mark(kind, token, self._lock, owner, now())

    def access(self, name: str) -> DatabaseAccess:
        """Return how a database of that name is reached."""
        at = self.endpoint
        own_url = self.url.with_database(name, at.user, at.password)
        return DatabaseAccess("postgres", name, at.host, at.port, at.user, at.password, external_url=own_url)

    def templates(self) -> list[tuple[str, float]]:
        """Our templates on the server, and how many hours ago each was last asked for; the newest first."""
        with self._session() as session:
            return [(found.name, found.mark.age_days() * 24) for found in templates.all_of(session) if found.mark]

    def drop_template(self, name: str) -> None:
        """Drop a template. Does nothing if it does not exist or is not testgrove's."""
        with self._session() as session:
            found = sql.find(session, name)
            if found and found.mark and found.mark.kind == "template":
                sql.drop(session, temporary="", name=name, token=found.mark.token)


def _names(data: Mapping[str, Any]) -> dict[str, str]:
    return {key: data[key] for key in ("temporary", "name", "token")}


def drop_leased(data: Mapping[str, Any], *, held: bool = False) -> str:  # noqa: ARG001 - the mark says whose it is
    """Drop the database that a lease's data name; do nothing if it does not exist. Idempotent.

    Returns a message if the database of that name is not the leased one, which is kept.
    Raises UnavailableError when the server does not answer.
    """
    if "pool" in data:
        from testgrove.services.engines.postgres.external_pool import drop_pool  # noqa: PLC0415 - it imports this module

        return drop_pool(data)
    url = parse_server_url("postgres", data["url"])
    with reported(f"use {url.location}"), external_session.connect(url, timeout=_UNDO_TIMEOUT) as session:
        found = None if data["token"] else sql.find(session, data["name"])
        token = token_of(data, found.mark if found else None)
        gone = sql.drop(session, **_names(data) | {"token": token})
    return "" if gone else _kept(url, data["name"])


def recreated(data: Mapping[str, Any]) -> str:
    """Return a message if the leased database was recreated outside testgrove, without its mark; else nothing.

    Raises UnavailableError when the server does not answer."""
    url = parse_server_url("postgres", data["url"])
    with reported(f"use {url.location}"), external_session.connect(url, timeout=_UNDO_TIMEOUT) as session:
        found = sql.find(session, data["name"])
    return _kept(url, data["name"]) if found is not None and found.mark is None else ""


def _kept(url: ServerUrl, name: str) -> str:
    drop = f"dropdb -h {url.host} -p {url.port} {name}"
    return f"kept the database {name} on {url.location}, which was recreated outside testgrove; to drop it: {drop}"


def server_at(url: ServerUrl, service: Service) -> ExternalPostgres:
    """Implement External.external()."""
    return ExternalPostgres(url, version=service.version, extensions=service.extensions)


def lease_of(url: ServerUrl, name: str, owner: str) -> Lease:
    """Implement External.lease_by_mark()."""
    return lease_by_mark(url, name, owner, {"name": name, "temporary": ""})
