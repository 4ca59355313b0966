"""Empty databases of a command's own: nothing is migrated, nothing is left of them."""

from __future__ import annotations

import secrets
import socket
import threading
from contextlib import suppress

from testgrove.app.context import AppContext
from testgrove.core.model import DatabaseAccess
from testgrove.core.settings.types import Service
from testgrove.errors import PreconditionError, TestgroveError
from testgrove.services.provider import DatabaseRequest, Provider, ProvisionedDatabase
from testgrove.services.provisioning.choose import provider_of


def empty_databases(context: AppContext, name: str, service: Service) -> EmptyDatabases:
    """Empty databases of a service. Raises PreconditionError (``not-ours``)."""
    if service.is_shared:
        raise PreconditionError(
            "not-ours",
            f"testgrove creates no databases on a server with isolation = 'none' in [services.{name}]",
            hint=f"remove `isolation` or `host` from [services.{name}]",
        )
    return EmptyDatabases(context, provider_of(context, name, service))


class EmptyDatabases:
    """Safe to use from several threads."""

    def __init__(self, context: AppContext, provider: Provider) -> None:
        self._context, self._provider = context, provider
        self._held: dict[tuple[int, str], ProvisionedDatabase] = {}  # an instance's name is not its own
        self._guard = threading.Lock()

    def make(self) -> DatabaseAccess:
        """Return an unused database with the extensions of the settings. Raises TestgroveError."""
        name = f"testgrove_empty_{secrets.token_hex(4)}"
        owner = f"{self._context.leases.owner} on {socket.gethostname()}"
        file = self._context.folder / f"{name}.sqlite3"
        self._provider.find()
        held = self._provider.make(DatabaseRequest(name, name, owner, self._context.leases, file))
        with self._guard:
            self._held[held.access.port, held.access.name] = held
        return held.access

    def drop(self, access: DatabaseAccess) -> None:
        """Take it away. Raises UnavailableError."""
        with self._guard:
            held = self._held.pop((access.port, access.name), None)
        if held is not None:
            held.drop()

    def close(self) -> None:
        """Drop what is left, and let go of the server. A second call does nothing."""
        with self._guard:
            left, self._held = self._held, {}
        for held in left.values():
            with suppress(TestgroveError):  # the lease stays, and is undone later
                held.drop()
        self._provider.close()
