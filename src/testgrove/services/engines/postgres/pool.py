"""Ready databases: clones of a template, made ahead, and taken away where no test waits for it.

Every client has a share of the pool: roles, for each a base of its own that this role owns, and clones of that base. So
a clone is one statement, and what a test does to its role or makes beside its database meets no other client. A thread
for each share makes and resets; one for the pool drops. What a pool makes lies on a server of ours, and goes with it.
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
from testgrove.services.engines.postgres.pool_roles import Ground, Hand, OwnHand
from testgrove.services.engines.postgres.reset import Resetter, Shape
from testgrove.services.engines.postgres.share import CONNECTING, PostgresShare

if TYPE_CHECKING:
    from testgrove.services.engines.postgres.server import PostgresServer
    from testgrove.services.engines.postgres.share import Clone

_LINGERING = 0.02  # seconds that a client which has closed its connection may take to be gone
_KEPT = 20  # databases that clients asked to keep


class ClonePool(ABC):
    """Hands out databases that are clones of one template. Safe to use from several threads.

    limit: how many databases there may be at once. resets: whether what was written to is mended, where clients ask for
    that; else they get another clone.
    """

    resets = True

    def __init__(self, *, limit: int) -> None:
        self._limit = limit
        self._count = 0
        self._kept = 0
        self._shares = 0
        self._guard = threading.Condition()
        self._bin: queue.SimpleQueue[tuple[float, Clone | Ground] | None] = queue.SimpleQueue()
        self._dropper = threading.Thread(target=self._drop_all, name="pool-drop", daemon=True)
        self._dropper.start()

    def open(self) -> PostgresShare:
        """A share for one client, which begins to fill."""
        with self._guard:
            self._shares += 1
            return PostgresShare(self, self._shares)

    def close(self) -> None:
        """Drop no more than what was discarded until now. Every share is closed already."""
        self._bin.put(None)
        self._dropper.join()

    @property
    def lost(self) -> bool:
        """Whether all its databases are gone, with their server, and no more can be had."""
        return False

    @abstractmethod
    def hand(self) -> Hand:
        """A connection to the server, for whoever works for the pool."""

    @abstractmethod
    def resetter(self, database: str) -> Resetter:
        """For a database that nobody has used yet."""

    def reserve(self) -> bool:
        """Whether one more database may be made; then it counts."""
        with self._guard:
            if self._count >= self._limit:
                return False
            self._count += 1
            return True

    @property
    def is_roomy(self) -> bool:
        """Whether less than half of what there may be is there."""
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
            if self._kept >= _KEPT:
                raise ExhaustedError("too-many-kept", f"{_KEPT} databases of this session are already kept")
            self._kept += 1

    def discard(self, what: Clone | Ground) -> None:
        """Have something dropped, in its turn."""
        self._bin.put((time.monotonic() + CONNECTING, what))

    @property
    def limit(self) -> int:
        """How many databases there may be at once."""
        return self._limit

    def _drop_all(self) -> None:
        hand = self.hand()
        grounds: list[Ground] = []  # those whose last clone is still to be dropped
        while (entry := self._bin.get()) is not None:
            due, item = entry
            time.sleep(max(0.0, due - time.monotonic()))
            # What cannot be dropped goes with the server, and keeps its place in the count.
            with suppress(TestgroveError):
                if isinstance(item, Ground):
                    grounds.append(item)
                else:
                    self._drop(hand, item)
            with suppress(TestgroveError):
                for ground in [ground for ground in grounds if hand.drop_ground(ground)]:
                    grounds.remove(ground)
                    self.give_back()
        hand.close()

    def _drop(self, hand: Hand, clone: Clone) -> None:
        if clone.resetter:
            clone.resetter.close()
        hand.drop_clone(clone.access.name, _LINGERING)
        self.give_back()


class Pool(ClonePool):
    """See ClonePool. On a server of ours, with which everything goes.

    owner: who holds the databases, kept with every one as its mark.
    """

    def __init__(self, server: PostgresServer, *, owner: str, limit: int) -> None:
        self._server = server
        self._owner = owner
        self._name = f"pool_{secrets.token_hex(3)}"
        self._shape: Shape | None = None
        super().__init__(limit=limit)

    @property
    def lost(self) -> bool:
        """See ClonePool."""
        return not self._server.alive

    def hand(self) -> Hand:
        """See ClonePool."""
        return OwnHand(self._server, self._name, self._owner)

    def resetter(self, database: str) -> Resetter:
        """See ClonePool."""
        with self._guard:  # the first one reads what a clone looks like, for all
            found = Resetter.open(self._server.endpoint, database, self._shape)
            self._shape = found.shape
            return found
