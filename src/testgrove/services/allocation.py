"""A broker client's part of a service, and what most engines share of it."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from testgrove.errors import PreconditionError, TestgroveError, UnavailableError, UsageError

if TYPE_CHECKING:
    from testgrove.core.model import DatabaseAccess

T = TypeVar("T")


class Allocation(ABC):
    """One client's databases of one service. Some can be emptied while their client keeps them, some it migrates."""

    @abstractmethod
    def get(self, isolation: Any) -> DatabaseAccess:
        """Return a database that is as new. Raises TestgroveError."""

    @abstractmethod
    def put(self, name: str) -> None:
        """Take back a database that the client does not need any more."""

    @abstractmethod
    def keep(self, name: str) -> None:
        """Keep the database unchanged until the broker ends."""

    @abstractmethod
    def close(self) -> None:
        """Release everything: the client has left. A second call does nothing."""

    def is_lost(self, patience: float = 0.0) -> bool:  # noqa: ARG002 - most cannot be
        """Return whether its server is gone, or goes within these seconds; another allocation may find another one."""
        return False

    def empty(self, name: str) -> None:
        """Make a database as new, at the same address. Raises UsageError where that is not possible."""
        raise UsageError("bad-request", f"{name} cannot be emptied; put it back and get another one")

    def migrate(self, name: str, way: str, revision: str, *, keep_data: bool) -> None:  # noqa: ARG002 - most are migrated
        """Take a database ``up`` or ``down`` to a revision; delete its rows first unless they are to be kept."""
        raise _is_migrated(name)

    def schema(self, name: str) -> dict[str, str]:
        """Return the definitions of what there is in a database."""
        raise _is_migrated(name)

    def revisions(self, name: str) -> dict[str, Any]:
        """Return all migrations in order, and a message if there are several newest ones."""
        raise _is_migrated(name)


def _is_migrated(name: str) -> UsageError:
    return UsageError("bad-request", f"{name} is already migrated; 'get' one from an engine with '-migrations'")


class BaseAllocation(Allocation, Generic[T]):
    """Makes each thing on request and holds it by its database's name. Safe to use from several threads."""

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
