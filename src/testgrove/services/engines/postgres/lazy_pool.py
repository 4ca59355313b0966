"""A pool of databases that is created at a test's first request, and again after its server was killed."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from testgrove.errors import TestgroveError

if TYPE_CHECKING:
    from collections.abc import Callable

    from testgrove.services.allocation import Allocation
    from testgrove.services.engines.postgres.pool import ClonePool

LEAST, MOST = 6, 200  # databases of a pool


class LazyPool:
    """An Allocator that creates its pool at the first request. make: creates the pool and what it needs."""

    def __init__(self, make: Callable[[], ClonePool]) -> None:
        self._make = make
        self._pool: ClonePool | None = None
        self._failure: TestgroveError | None = None
        self._guard = threading.Lock()

    def open(self) -> Allocation:
        """Implement Allocator. Raises TestgroveError if no server can be started."""
        with self._guard:
            if self._failure is not None:
                raise self._failure  # a migration that fails is not tried again for every test
            if self._pool is not None and self._pool.is_lost():
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
