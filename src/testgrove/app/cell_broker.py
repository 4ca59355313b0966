"""A broker for one cell of a run, on the run's own server: a socket that costs nothing until a test asks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypeGuard

from testgrove.services.base import Holding

if TYPE_CHECKING:
    from testgrove.services.postgres import PostgresServer


def is_postgres(server: Holding) -> TypeGuard[PostgresServer]:
    """Whether it is a PostgreSQL of the run's own."""
    from testgrove.services.postgres import PostgresServer  # noqa: PLC0415 - most runs have loaded it by now

    return isinstance(server, PostgresServer)


class CellBroker:
    """Listens at path until close(). owner: who holds the databases, for people who look at their marks."""

    def __init__(self, server: PostgresServer, path: Path, owner: str) -> None:
        from testgrove.app.pools import LazyPool, broker_of  # noqa: PLC0415 - only where there is a PostgreSQL

        self.path = path
        self._pool = LazyPool(lambda: server, path.parent, owner)
        self._broker = broker_of(self._pool, path)
        self._closed = False

    def close(self) -> None:
        """Send clients away, take back what they hold. A second call does nothing."""
        if not self._closed:
            self._closed = True
            self._broker.close()
            self._pool.close()
