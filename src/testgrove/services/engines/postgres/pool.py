"""A pool of databases for tests: clones of a template. It opens allocations, limits their number, drops them.

Every client has an allocation (allocation.py): roles, a base owned by each role, and clones of that base. So a clone
takes one statement, and no other client sees what a test does to its role, or the other databases that it creates. A
thread for each allocation creates in advance and resets; one thread of the pool drops. The databases are on a server of
testgrove and are removed with it.
"""

from __future__ import annotations

import queue
import secrets
import threading
import time
from abc import ABC, abstractmethod
from contextlib import suppress
from typing import TYPE_CHECKING

from testgrove.errors import ExhaustedError, TestgroveError
from testgrove.services.engines.postgres.allocation import CONNECTING, PostgresAllocation
from testgrove.services.engines.postgres.pool_roles import AdminConnection, ClientBase, EmbeddedAdmin
from testgrove.services.engines.postgres.reset import Baseline, Resetter

if TYPE_CHECKING:
    from testgrove.services.engines.postgres.allocation import Clone
    from testgrove.services.engines.postgres.server import PostgresServer

_LINGERING = 0.02  # seconds that a client which has closed its connection may take to be gone
_MAX_KEPT = 20  # databases that clients asked to keep


class ClonePool(ABC):
    """Opens allocations, which hand out clones of one template. Safe to use from several threads.

    limit: maximum number of databases at the same time. resets: whether used databases are reset for clients that
    request it; else they get another clone.
    """

    resets = True

    def __init__(self, *, limit: int) -> None:
        self._limit = limit
        self._count = 0
        self._kept = 0
        self._allocations = 0
        self._guard = threading.Condition()
        self._bin: queue.SimpleQueue[tuple[float, Clone | ClientBase] | None] = queue.SimpleQueue()
        self._dropper = threading.Thread(target=self._drop_all, name="pool-drop", daemon=True)
        self._dropper.start()

    def open(self) -> PostgresAllocation:
        """An allocation for one client, which begins to fill."""
        with self._guard:
            self._allocations += 1
            return PostgresAllocation(self, self._allocations)

    def close(self) -> None:
        """Stop dropping, except for databases already discarded. All allocations are already closed."""
        self._bin.put(None)
        self._dropper.join()

    def is_lost(self, patience: float = 0.0) -> bool:  # noqa: ARG002 - a user's server is not watched
        """Return whether the server has died with all databases, or does within these seconds."""
        return False

    @abstractmethod
    def admin(self) -> AdminConnection:
        """Return a connection to the server, for work on the pool."""

    @abstractmethod
    def resetter(self, database: str) -> Resetter:
        """Return the reset of an unused database."""

    def reserve(self) -> bool:
        """Count one more database if the limit allows it; return whether it does."""
        with self._guard:
            if self._count >= self._limit:
                return False
            self._count += 1
            return True

    @property
    def is_roomy(self) -> bool:
        """Return whether fewer than half of the allowed databases exist."""
        return self._count * 2 < self._limit

    def give_back(self) -> None:
        """One database less."""
        with self._guard:
            self._count -= 1
            self._guard.notify_all()

    def wait_for_room(self, timeout: float) -> bool:
        """Wait until something was dropped; whether there is room."""
        with self._guard:
            return self._guard.wait_for(lambda: self._count < self._limit, timeout)

    def keep(self) -> None:
        """Count a database that stays. Raises ExhaustedError."""
        with self._guard:
            if self._kept >= _MAX_KEPT:
                raise ExhaustedError("too-many-kept", f"{_MAX_KEPT} databases of this session are already kept")
            self._kept += 1

    def discard(self, what: Clone | ClientBase) -> None:
        """Have something dropped, in its turn."""
        self._bin.put((time.monotonic() + CONNECTING, what))

    @property
    def limit(self) -> int:
        """How many databases there may be at once."""
        return self._limit

    def _drop_all(self) -> None:
        admin = self.admin()
        bases: list[ClientBase] = []  # those whose last clone is still to be dropped
        while (entry := self._bin.get()) is not None:
            due, item = entry
            time.sleep(max(0.0, due - time.monotonic()))
            # A database that cannot be dropped is removed with the server, and still counts.
            with suppress(TestgroveError):
                if isinstance(item, ClientBase):
                    bases.append(item)
                else:
                    self._drop(admin, item)
            with suppress(TestgroveError):
                for base in [base for base in bases if admin.drop_base(base)]:
                    bases.remove(base)
                    self.give_back()
        admin.close()

    def _drop(self, admin: AdminConnection, clone: Clone) -> None:
        if clone.resetter:
            clone.resetter.close()
        admin.drop_clone(clone.access.name, _LINGERING)
        self.give_back()


class Pool(ClonePool):
    """A pool on a server of testgrove, whose databases are removed with it.

    owner: the holder's name, written on every database as its mark.
    """

    def __init__(self, server: PostgresServer, *, owner: str, limit: int) -> None:
        self._server = server
        self._owner = owner
        self._name = f"pool_{secrets.token_hex(3)}"
        self._baseline: Baseline | None = None
        super().__init__(limit=limit)

    def is_lost(self, patience: float = 0.0) -> bool:
        """Implement ClonePool."""
        return not self._server.outlives(patience)

    def admin(self) -> AdminConnection:
        """Implement ClonePool."""
        return EmbeddedAdmin(self._server, self._name, self._owner)

    def resetter(self, database: str) -> Resetter:
        """Implement ClonePool."""
        with self._guard:  # the first one reads the state of a clone, for all
            found = Resetter.open(self._server.endpoint, database, self._baseline)
            self._baseline = found.baseline
            return found
