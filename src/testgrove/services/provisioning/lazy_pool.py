"""A pool of databases that is made when a test first asks, and again when its server was killed."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

from testgrove.errors import TestgroveError

if TYPE_CHECKING:
    from collections.abc import Callable

    from testgrove.services.broker import Allocation

LEAST, MOST = 6, 200  # databases of a pool


class Pool(Protocol):
    """What LazyPool makes."""

    @property
    def lost(self) -> bool:
        """Whether all its databases are gone, with their server."""

    def open(self) -> Allocation:
        """For one client."""

    def close(self) -> None:
        """Make and drop no more."""


class LazyPool:
    """See provider.Allocator. make: makes the pool, and what it needs."""

    def __init__(self, make: Callable[[], Pool]) -> None:
        self._make = make
        self._pool: Pool | None = None
        self._failure: TestgroveError | None = None
        self._guard = threading.Lock()

    def open(self) -> Allocation:
        """Implement Allocator. Raises TestgroveError where there can be no server."""
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
        """Implement Allocator."""
        if self._pool is not None:
            with suppress(TestgroveError):  # its lease stays, and the next command tries again
                self._pool.close()
