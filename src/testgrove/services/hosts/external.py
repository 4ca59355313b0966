"""The host ``external``: a server that somebody else runs, by its URL. What is made there is leased and marked."""

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
from testgrove.services.provider import Held, Provider

if TYPE_CHECKING:
    from testgrove.core.model import Lease
    from testgrove.core.settings.types import Service
    from testgrove.services.engines.protocols import External
    from testgrove.services.provider import Allocator, Context, Order, Traits, Wanted


class ExternalServer(Provider):
    """See Provider. A database for each worktree, where there are templates a clone of one on the same server."""

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
        """Connect, and see whether we may create databases. Raises UnavailableError, PreconditionError."""
        with self._guard:
            if not self._is_open:
                self._server.open()
                self._is_open = True

    def start_ahead(self) -> None:
        """Take away what dead owners have left there, on whatever machine they were."""
        self._is_swept = True
        with suppress(TestgroveError):  # it is nobody's; the next command tries again
            self._server.sweep()

    def traits(self) -> Traits | None:
        """Implement Provider."""
        return self._server.traits()

    def make(self, order: Order) -> Held:
        """Implement Provider."""
        self.find()
        template = self._template(order.wanted, order) if order.wanted else ""
        order.say(f"a database on {self._server.url.location}")
        access = self._server.create_database(
            order.name, template=template, owner=order.owner, leases=order.leases, kind=self._context.kind
        )
        return _Leased(self._engine, self._server.url, access, order)

    def _template(self, wanted: Wanted, order: Order | None = None) -> str:
        fingerprint = wanted.fingerprint
        if self._token:  # others may be cloning the one that is there: it is left alone
            fingerprint = hashlib.sha256(f"{fingerprint} {self._token}".encode()).hexdigest()[:32]
        template = self._server.ensure_template(
            fingerprint,
            wanted.build,
            leases=order.leases if order else self._context.leases,
            on_wait=order.say if order else None,
            on_note=order.note if order else None,
        )
        if self._token:
            self._fresh.add(template)
        return template

    def allocator(self, wanted: Callable[[], Wanted], owner: str) -> Allocator | None:
        """Implement Provider."""

        def find() -> str:
            self.find()
            if not self._is_swept:
                threading.Thread(target=self.start_ahead, name="sweep", daemon=True).start()
            return self._template(wanted())

        return self._server.pool(find, self._context.leases, owner)

    def close(self) -> None:
        """Let go of the server; what is left there is the leases' to name."""
        if not self._is_open:
            return
        for template in self._fresh:
            with suppress(TestgroveError):  # the next builder's trim, or a clean-up, takes it away
                self._server.drop_template(template)
        self._server.close()


class AsGiven(Provider):
    """See Provider. Everybody uses the database of the URL as it is."""

    def __init__(self, engine: External, url: ServerUrl, default_database: str) -> None:
        self._engine, self._url, self._database = engine, url, url.database or default_database
        self.note = f"{url.location}: database {self._database} is shared by all worktrees"
        self._access: DatabaseAccess | None = None

    def find(self) -> None:
        """See whether it answers. Raises UnavailableError."""
        if self._access is None:
            url, (user, password) = self._url, self._engine.check_answers(self._url)
            self._access = DatabaseAccess(
                url.engine, self._database, url.host, url.port, user, password, external_url=url.text
            )

    def make(self, order: Order) -> Held:  # noqa: ARG002 - nothing is made
        """Implement Provider."""
        self.find()
        assert self._access is not None
        return Held(self._access)


class _Leased(Held):
    """See Held. Taken away by its owner, the lease after it. One that cannot be taken away keeps its lease."""

    def __init__(self, engine: External, url: ServerUrl, access: DatabaseAccess, order: Order) -> None:
        super().__init__(access)
        self._engine, self._order, self._key = engine, order, f"{url.location} {access.name}"

    def drop(self) -> str:
        """Implement Held."""
        for lease in self._order.leases.all():
            if (lease.kind, lease.key) == (LeaseKind.DATABASE, self._key):
                return self._drop(lease)
        return ""

    def _drop(self, lease: Lease) -> str:
        try:
            note = self._engine.drop_leased(lease.data, held=True)
        except TestgroveError as error:
            return error.message  # the end of the run, or the next command, tries again
        self._order.leases.forget(lease)
        if note:
            self._order.left(lease)
        return note
