"""A pool of databases that is created at a test's first request, and again after its server was killed."""

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
    """The pool that LazyPool creates."""

    @property
    def lost(self) -> bool:
        """Whether its server was killed, and its databases with it."""

    def open(self) -> Allocation:
        """Return the allocation of one client."""

    def close(self) -> None:
        """Stop creating and dropping databases."""


class LazyPool:
    """An Allocator that creates its pool at the first request. make: creates the pool and what it needs."""

    def __init__(self, make: Callable[[], Pool]) -> None:
        self._make = make
        self._pool: Pool | None = None
        self._failure: TestgroveError | None = None
        self._guard = threading.Lock()

    def open(self) -> Allocation:
        """Implement Allocator. Raises TestgroveError if no server can be started."""
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
