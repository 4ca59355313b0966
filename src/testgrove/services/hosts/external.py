"""The host ``external``: a server by its URL. testgrove leases and marks the databases that it creates there."""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from testgrove.core.model import DatabaseAccess, LeaseKind
from testgrove.core.server_url import ServerUrl, parse_server_url
from testgrove.errors import TestgroveError
from testgrove.services.provider import Provider, ProvisionedDatabase

if TYPE_CHECKING:
    from testgrove.core.model import Lease
    from testgrove.core.settings.types import Service
    from testgrove.services.engines.protocols import External
    from testgrove.services.provider import Allocator, Context, DatabaseRequest, TemplateSpec, Traits


class ExternalProvider(Provider):
    """The provider of a database for each worktree, cloned from a template on the same server if there is one."""

    def __init__(self, engine: External, context: Context, service: Service) -> None:
        self._engine, self._context = engine, context
        url = parse_server_url(service.engine, service.host)
        self._server = engine.external(url, service)
        self.note = self._server.note
        self._token = secrets.token_hex(8) if context.fresh and service.migrate else ""
        self._fresh: set[str] = set()  # templates reserved for this run
        self._is_open, self._is_swept = False, False
        self._guard = threading.Lock()

    def find(self) -> None:
        """Connect, and check that databases may be created. Raises UnavailableError, PreconditionError."""
        with self._guard:
            if not self._is_open:
                self._server.open()
                self._is_open = True

    def start_ahead(self) -> None:
        """Drop what dead owners on any machine have left there."""
        self._is_swept = True
        with suppress(TestgroveError):  # it has no owner; the next command tries again
            self._server.sweep()

    def traits(self) -> Traits | None:
        """Implement Provider."""
        return self._server.traits()

    def make(self, request: DatabaseRequest) -> ProvisionedDatabase:
        """Implement Provider."""
        self.find()
        template = self._template(request.template_spec, request) if request.template_spec else ""
        request.say(f"a database on {self._server.url.location}")
        access = self._server.create_database(
            request.name, template=template, owner=request.owner, leases=request.leases, kind=self._context.kind
        )
        return _ExternalDatabase(self._engine, self._server.url, access, request)

    def _template(self, template_spec: TemplateSpec, request: DatabaseRequest | None = None) -> str:
        fingerprint = template_spec.fingerprint
        if self._token:  # other commands may be cloning the existing one
            fingerprint = hashlib.sha256(f"{fingerprint} {self._token}".encode()).hexdigest()[:32]
        template = self._server.ensure_template(
            fingerprint,
            template_spec.build,
            leases=request.leases if request else self._context.leases,
            on_wait=request.say if request else None,
            on_note=request.note if request else None,
        )
        if self._token:
            self._fresh.add(template)
        return template

    def allocator(self, template_spec: Callable[[], TemplateSpec], owner: str) -> Allocator | None:
        """Implement Provider."""

        def find() -> str:
            self.find()
            if not self._is_swept:
                threading.Thread(target=self.start_ahead, name="sweep", daemon=True).start()
            return self._template(template_spec())

        return self._server.pool(find, self._context.leases, owner)

    def close(self) -> None:
        """Disconnect. Leases name what stays on the server."""
        if not self._is_open:
            return
        for template in self._fresh:
            with suppress(TestgroveError):  # the next build or clean-up drops it
                self._server.drop_template(template)
        self._server.close()


class SharedProvider(Provider):
    """The provider with ``isolation = "none"``: all worktrees share the database of the URL as it is."""

    def __init__(self, engine: External, url: ServerUrl, default_database: str) -> None:
        self._engine, self._url, self._database = engine, url, url.database or default_database
        self.note = f"{url.location}: database {self._database} is shared by all worktrees"
        self._access: DatabaseAccess | None = None

    def find(self) -> None:
        """Check that it answers. Raises UnavailableError."""
        if self._access is None:
            url, (user, password) = self._url, self._engine.check_connection(self._url)
            self._access = DatabaseAccess(
                url.engine, self._database, url.host, url.port, user, password, external_url=url.text
            )

    def make(self, request: DatabaseRequest) -> ProvisionedDatabase:  # noqa: ARG002 - nothing is made
        """Implement Provider."""
        self.find()
        assert self._access is not None
        return ProvisionedDatabase(self._access)


class _ExternalDatabase(ProvisionedDatabase):
    """A database on an external server. Dropped by its owner, then its lease; if dropping fails, the lease stays."""

    def __init__(self, engine: External, url: ServerUrl, access: DatabaseAccess, request: DatabaseRequest) -> None:
        super().__init__(access)
        self._engine, self._request, self._key = engine, request, f"{url.location} {access.name}"

    def drop(self) -> str:
        """Implement ProvisionedDatabase."""
        for lease in self._request.leases.all():
            if (lease.kind, lease.key) == (LeaseKind.DATABASE, self._key):
                return self._drop_leased(lease)
        return ""

    def _drop_leased(self, lease: Lease) -> str:
        try:
            note = self._engine.drop_leased(lease.data, held=True)
        except TestgroveError as error:
            return error.message  # the end of the run, or the next command, tries again
        self._request.leases.forget(lease)
        if note:
            self._request.left(lease)
        return note
