"""The pools behind brokers: how many databases fit, and a pool that is created on the first request."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from testgrove.errors import TestgroveError
from testgrove.services.broker import Share
from testgrove.services.engines.postgres import sql
from testgrove.services.engines.postgres.server import PostgresServer
from testgrove.system.files import free_bytes
from testgrove.system.machine import available_memory

if TYPE_CHECKING:
    from testgrove.core.leases import Leases
    from testgrove.services.engines.postgres.external import GivenPostgres
    from testgrove.services.engines.postgres.pool import ClonePool, Pool

_LEAST, _MOST = 6, 200  # databases of a pool


class LazyPool:
    """Provider of shares of a pool, which is created on first use. make: creates the pool and what it needs."""

    def __init__(self, make: Callable[[], ClonePool]) -> None:
        self._make = make
        self._pool: ClonePool | None = None
        self._failure: TestgroveError | None = None
        self._guard = threading.Lock()

    def open(self) -> Share:
        """A share for one client. Raises TestgroveError where there can be no server."""
        with self._guard:
            if self._failure is not None:
                raise self._failure  # a migration that fails is not tried again for every test
            if self._pool is not None and self._pool.lost:
                self._pool.close()
                self._pool = None
            try:
                self._pool = self._pool or self._make()
            except TestgroveError as error:
                self._failure = error
                raise
        return self._pool.open()

    def close(self) -> None:
        """Stop creating and dropping databases. All shares are already closed."""
        if self._pool is not None:
            with suppress(TestgroveError):  # its lease stays, and the next command tries again
                self._pool.close()


def own_pool(find: Callable[[], PostgresServer], folder: Path, owner: str) -> LazyPool:
    """Return the pool of an embedded server. find: returns the server, starts it if needed. folder: of its data."""

    def make() -> Pool:
        from testgrove.services.engines.postgres.pool import Pool  # noqa: PLC0415 - most suites never ask for one

        server = find()
        return Pool(server, owner=owner, limit=_limit(server, folder))

    return LazyPool(make)


def given_pool(find: Callable[[], tuple[GivenPostgres, str]], leases: Leases, owner: str) -> LazyPool:
    """Return the pool of an external server. find: returns the server and its template, builds it if needed."""

    def make() -> ClonePool:
        from testgrove.services.engines.postgres.external_pool import GivenPool, room  # noqa: PLC0415 - as above

        server, template = find()
        limit = room(server, least=_LEAST, most=_MOST)
        return GivenPool(server, template, owner=owner, leases=leases, limit=limit)

    return LazyPool(make)


def _limit(server: PostgresServer, folder: Path) -> int:
    """Half of what is free is for databases."""
    with sql.connect(server.endpoint) as admin, sql.reported("measure the template"):
        found = admin.execute("SELECT pg_database_size(%s)", (server.template.database,)).fetchone()
    size = max(int(found[0]), 1 << 20) if found else 1 << 24
    return min(_MOST, max(_LEAST, min(free_bytes(folder), available_memory()) // 2 // size))
