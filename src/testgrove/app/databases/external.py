"""A run's databases on external servers, configured by URL."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from testgrove.app.databases.cell import CellDatabases
from testgrove.app.databases.engines import Made, Means, RunMeans
from testgrove.app.databases.migration import fingerprint, migration
from testgrove.app.left_databases import remember_left
from testgrove.app.providers.shares import Lender
from testgrove.app.worktrees.workspace import Workspace
from testgrove.core.model import DatabaseAccess, Lease, LeaseKind
from testgrove.core.naming import database_name
from testgrove.core.server_url import ServerUrl, parse_server_url
from testgrove.core.settings.types import Service
from testgrove.errors import TestgroveError
from testgrove.services.base import Holding
from testgrove.services.databases_by_url import as_given
from testgrove.services.engines.postgres.external import GivenPostgres, drop_leased
from testgrove.services.engines.redis.external import GivenRedis
from testgrove.services.engines.redis.external import drop_leased as release_number
from testgrove.system.store import StoredLeases


class ServerPostgres:
    """PostgreSQL on an external server: a database for each worktree, cloned from a template on the same server.

    migrate: the command that migrates the template; empty for empty databases.
    """

    note = ""

    def __init__(self, means: Means, service: Service, *, migrate: str | None = None) -> None:
        self._means, self._service = means, service
        self._migrate = service.migrate if migrate is None else migrate
        self._fresh: set[str] = set()  # templates reserved for this run
        self._token = secrets.token_hex(8) if means.project.fresh_templates and self._migrate else ""
        url = parse_server_url("postgres", service.host)
        self._server = GivenPostgres(url, version=service.version, extensions=service.extensions)

    def find(self) -> None:
        """Connect, and see whether we may create databases. Raises UnavailableError, PreconditionError."""
        self._server.open()

    def start_ahead(self) -> None:
        """Take away what dead runs have left there, on whatever machine they were."""
        with suppress(TestgroveError):  # no owner is left; the next run retries
            self._server.sweep()

    def maker(self, creation: Workspace, making: CellDatabases) -> Callable[[], Made]:
        """Implement EngineDatabases."""
        wanted = fingerprint(
            self._service,
            creation,
            engine=self._server.identity,
            extensions=self._service.extensions,
            migrate=self._migrate,
        )
        if self._token:  # others may be cloning the one that is there: it is left alone
            wanted = hashlib.sha256(f"{wanted} {self._token}".encode()).hexdigest()[:32]
        return partial(self._make, wanted, creation, making)

    def _make(self, wanted: str, creation: Workspace, making: CellDatabases) -> Made:
        leases = self._means.leases_of(creation)
        template = self._server.ensure_template(
            wanted,
            migration(self._migrate, self._means.launcher, creation, making),
            leases=leases,
            on_wait=making.say,
            on_note=creation.notes.append,
        )
        if self._token:
            self._fresh.add(template)
        making.say(f"a clone on {self._server.url.place}")
        name, owner = database_name(creation.spec.id), self._means.owner_of(creation)
        access = self._server.create_database(
            name, template=template, owner=owner, leases=leases, kind=self._means.kind
        )
        return Leased(leases, self._server.url, access, drop_leased, creation, template=template), access

    def lender(self, held: Holding | None, owner: str) -> Lender | None:
        """Implement EngineDatabases."""
        from testgrove.app.providers.pools import given_pool  # noqa: PLC0415 - only where a suite runs

        assert isinstance(held, Leased)
        assert isinstance(self._means, RunMeans)
        return given_pool(lambda: (self._server, held.template), self._means.leases, owner)

    def close(self) -> None:
        """Let go of the server; what is left there is the leases' to name."""
        for template in self._fresh:
            with suppress(TestgroveError):  # the next builder's trim, or a clean-up, takes it away
                self._server.drop_template(template)
        self._server.close()


class ServerRedis:
    """Redis on an external server: a numbered database for each cell."""

    def __init__(self, means: Means, service: Service) -> None:
        self._means = means
        self._server = GivenRedis(parse_server_url("redis", service.host))
        self.note = f"{self._server.url.place}: numbered databases, which share pub/sub, scripts and FLUSHALL"

    def find(self) -> None:
        """Connect. Raises UnavailableError, ExhaustedError."""
        self._server.open()

    def start_ahead(self) -> None:
        """Empty what dead runs have left there."""
        with suppress(TestgroveError):  # no owner is left; the next run retries
            self._server.sweep()

    def maker(self, creation: Workspace, making: CellDatabases) -> Callable[[], Made]:  # noqa: ARG002 - nothing to wait for
        """Implement EngineDatabases."""
        return partial(self._make, creation)

    def _make(self, creation: Workspace) -> Made:
        owner, leases = self._means.owner_of(creation), self._means.leases_of(creation)
        access = self._server.create_database(owner=owner, leases=leases, kind=self._means.kind)
        drop = partial(release_number, alive=True)
        return Leased(leases, self._server.url, access, drop, creation), access

    def lender(self, held: Holding | None, owner: str) -> Lender | None:
        """Implement EngineDatabases."""

    def close(self) -> None:
        """Let go of the server."""
        self._server.close()


class AsGiven:
    """The database of the URL, shared by all worktrees (isolation = 'none')."""

    def __init__(self, url: ServerUrl) -> None:
        self._url = url
        self.note = f"{url.place}: database {url.database or '0'} is shared by all worktrees"

    def find(self) -> None:
        """See whether it answers. Raises UnavailableError."""
        self._access = as_given(self._url)

    def start_ahead(self) -> None:
        """Nothing."""

    def maker(self, creation: Workspace, making: CellDatabases) -> Callable[[], Made]:  # noqa: ARG002 - nothing is made
        """Implement EngineDatabases."""
        return lambda: (None, self._access)

    def lender(self, held: Holding | None, owner: str) -> Lender | None:
        """Implement EngineDatabases."""

    def close(self) -> None:
        """Nothing."""


class Leased:
    """One database on an external server, dropped by the run that created it. template: the one it was cloned from."""

    def __init__(
        self,
        leases: StoredLeases,
        url: ServerUrl,
        access: DatabaseAccess,
        drop: Callable[[dict[str, object]], str],
        creation: Workspace,
        *,
        template: str = "",
    ) -> None:
        self.template = template
        self._leases, self._drop, self._creation = leases, drop, creation
        self._key = f"{url.place} {access.name}"

    def drop_database(self, name: str) -> None:  # noqa: ARG002 - it is the only one
        """Drop the database, then delete its lease. If it cannot be dropped, report it and keep the lease."""
        for lease in self._leases.all():
            if (lease.kind, lease.key) == (LeaseKind.DATABASE, self._key):
                self._drop_leased(lease)

    def _drop_leased(self, lease: Lease) -> None:
        try:
            note = self._drop(lease.data)
        except TestgroveError as error:
            note = error.message  # the end of the run, or the next command, tries again
        else:
            self._leases.forget(lease)
            if note:
                remember_left(self._leases.store, lease)
        if note:
            self._creation.notes.append(note)

    def stop(self) -> None:
        """Do nothing: the server is external."""
