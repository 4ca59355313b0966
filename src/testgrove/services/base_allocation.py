"""A broker client's part of a service: what is the same in every Allocation."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from contextlib import suppress
from typing import TYPE_CHECKING, Generic, TypeVar

from testgrove.errors import PreconditionError, TestgroveError, UnavailableError

if TYPE_CHECKING:
    from testgrove.core.model import DatabaseAccess

T = TypeVar("T")


class BaseAllocation(ABC, Generic[T]):
    """See broker.Allocation. Each thing is held by the name of its database. Safe to use from several threads."""

    def __init__(self) -> None:
        self._held: dict[str, T] = {}
        self._closed = False
        self._guard = threading.Lock()

    @abstractmethod
    def make(self) -> tuple[DatabaseAccess, T]:
        """Make another one. Raises TestgroveError."""

    @abstractmethod
    def discard(self, thing: T) -> None:
        """Take one away. Raises TestgroveError."""

    def get(self, isolation: str) -> DatabaseAccess:  # noqa: ARG002 - there is one
        """Implement Allocation. Raises TestgroveError."""
        access, thing = self.make()
        with self._guard:
            if not self._closed:
                self._held[access.name] = thing
                return access
        self.discard(thing)
        raise UnavailableError("broker-closed", "the broker has closed")

    def put(self, name: str) -> None:
        """Implement Allocation. Raises PreconditionError (``not-leased``)."""
        self.discard(self.take(name))

    def keep(self, name: str) -> None:
        """Implement Allocation. Raises PreconditionError (``not-leased``)."""
        self.take(name)

    def close(self) -> None:
        """Implement Allocation. A second call does nothing."""
        with self._guard:
            self._closed = True
            held, self._held = self._held, {}
        for thing in held.values():
            with suppress(TestgroveError):  # it is removed with its server, or with its lease later
                self.discard(thing)

    def of(self, name: str) -> T:
        """Return the held thing of that name. Raises PreconditionError (``not-leased``)."""
        with self._guard:
            if name not in self._held:
                raise PreconditionError("not-leased", f"this client holds no database '{name}'")
            return self._held[name]

    def take(self, name: str) -> T:
        """Remove and return the held thing of that name. Raises PreconditionError (``not-leased``)."""
        thing = self.of(name)
        with self._guard:
            del self._held[name]
        return thing
