"""Ready databases: clones of a template, made ahead, and taken away where no test waits for it.

Every client has a share of the pool: a role, a base of its own that this role owns, and clones of that base. So a clone
is one statement, and what a test does to its role or makes beside its database meets no other client. A thread for
each share makes and resets; one for the pool drops. What a pool makes lies on a server of ours, and goes with it.
"""

from __future__ import annotations

import queue
import secrets
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from testgrove.errors import ExhaustedError, PreconditionError, TestgroveError, UnavailableError
from testgrove.services.pool_ground import Ground, Hand, OwnHand
from testgrove.services.reset import Resetter, Shape

if TYPE_CHECKING:
    from testgrove.core.model import DatabaseAccess
    from testgrove.services.postgres import PostgresServer

Isolation = Literal["clone", "reset", "transaction"]
READY = 2  # databases made ahead for each client
_TIMEOUT = 120.0  # seconds that a client waits for a database at most
_LINGERING = 0.02  # seconds that a client which has closed its connection may take to be gone
_PATIENCE = 5.0  # seconds for others to give back what they have, where the pool is full
_PAUSE = 0.05
_CONNECTING = 0.006  # seconds after a hand-out in which its client connects: two CPUs are soon shared by three
_KEPT = 20  # databases that clients asked to keep


@dataclass
class Clone:
    """A database of a share. resetter: there once it was handed out to be reset."""

    access: DatabaseAccess
    ground: Ground
    resetter: Resetter | None = None
    isolation: Isolation = "clone"


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

    def open(self) -> Share:
        """A share for one client, which begins to fill."""
        with self._guard:
            self._shares += 1
            return Share(self, self._shares)

    def close(self) -> None:
        """Drop no more than what was discarded until now. Every share is closed already."""
        self._bin.put(None)
        self._dropper.join()

    @property
    def lost(self) -> bool:
        """Whether all its databases are gone, with their server, and no more can be had."""
        return False

    @abstractmethod
    def hand(self, *, urgent: bool = False) -> Hand:
        """A connection to the server, for whoever works for the pool. urgent: while a client waits."""

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
                raise ExhaustedError("too-many-kept", f"{_KEPT} databases of this session are kept already")
            self._kept += 1

    def discard(self, what: Clone | Ground) -> None:
        """Have something dropped, in its turn."""
        self._bin.put((time.monotonic() + _CONNECTING, what))

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

    def hand(self, *, urgent: bool = False) -> Hand:
        """See ClonePool."""
        return OwnHand(self._server, self._name, self._owner, urgent=urgent)

    def resetter(self, database: str) -> Resetter:
        """See ClonePool."""
        with self._guard:  # the first one reads what a clone looks like, for all
            found = Resetter.open(self._server.endpoint, database, self._shape)
            self._shape = found.shape
            return found


class Share:
    """One client's part of a pool. The client has it to itself; close() when it has left."""

    def __init__(self, pool: ClonePool, number: int) -> None:
        self._pool = pool
        self._hand, self._clients_hand = pool.hand(), pool.hand(urgent=True)  # of our thread, and of who calls us
        self._number = number
        self._made = 0
        self._grounds = 0
        self._ground: Ground | None = None
        self._ready: deque[Clone] = deque()
        self._returned: deque[Clone] = deque()
        self._leased: dict[str, Clone] = {}
        self._wanted: Isolation = "clone"
        self._waiting = False
        self._quiet_until = 0.0
        self._problem: TestgroveError | None = None
        self._full_since = 0.0
        self._closed = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, name=f"pool-{number}", daemon=True)
        self._thread.start()

    @property
    def lost(self) -> bool:
        """See broker.Mortal."""
        return self._pool.lost

    def get(self, isolation: Isolation) -> DatabaseAccess:
        """A database as the migration left it. Raises ExhaustedError, UnavailableError."""
        isolation = isolation if self._pool.resets else "clone"
        clone = self._wait(isolation)
        clone.isolation = isolation
        try:
            if isolation != "clone" and clone.resetter is None:
                clone.resetter = self._pool.resetter(clone.access.name)
        except BaseException:
            self._pool.discard(self._take_back(clone.access.name))
            raise
        return clone.access

    def put(self, name: str) -> None:
        """The client needs a database no more. Raises PreconditionError (``not-leased``), UnavailableError."""
        clone = self._take_back(name)
        self._quiet_until = time.monotonic() + _CONNECTING  # most often another test begins
        try:
            spoiled = self._clients_hand.is_spoiled(clone.ground, alone=not self._leased)
        except BaseException:
            self._pool.discard(clone)
            raise
        with self._changed:
            if spoiled:
                self._leave(clone.ground)
            if clone.isolation == "clone":
                self._pool.discard(clone)
            else:
                self._returned.append(clone)
            self._changed.notify_all()

    def keep(self, name: str) -> None:
        """Leave a database as it is until the server goes. Raises PreconditionError, ExhaustedError."""
        if name in self._leased:
            self._pool.keep()
        clone = self._take_back(name)
        if clone.resetter:
            clone.resetter.close()

    def close(self) -> None:
        """Take back everything; whoever waits for a database is told so. A second call does nothing."""
        with self._changed:
            closed, self._closed = self._closed, True
            self._changed.notify_all()
        if closed:
            return
        self._thread.join()
        for clone in (*self._leased.values(), *self._returned, *self._ready):
            self._pool.discard(clone)
        if self._ground:
            self._pool.discard(self._ground)
        self._hand.close()
        self._clients_hand.close()

    def _take_back(self, name: str) -> Clone:
        with self._changed:
            clone = self._leased.pop(name, None)
        if clone is None:
            raise PreconditionError("not-leased", f"this client holds no database '{name}'")
        return clone

    def _wait(self, isolation: Isolation) -> Clone:
        deadline = time.monotonic() + _TIMEOUT
        with self._changed:
            self._wanted, self._waiting, self._problem = isolation, True, None
            self._changed.notify_all()
            try:
                while (clone := self._pick()) is None:
                    if self._problem is not None:
                        raise self._problem
                    if self._closed:
                        raise UnavailableError("broker-closed", "the broker has closed")
                    if not self._changed.wait(max(0.0, deadline - time.monotonic())):
                        raise UnavailableError("pool-slow", f"no database was made within {_TIMEOUT:g} s")
            finally:
                self._waiting = False
            self._quiet_until = time.monotonic() + _CONNECTING
            self._changed.notify_all()  # there is room for another
        return clone

    def _pick(self) -> Clone | None:
        """One that is ready: for clones one that nobody has used, else one that somebody has, first."""
        fits = [clone for clone in self._ready if clone.resetter is None]
        if self._wanted != "clone":
            fits = [clone for clone in self._ready if clone.resetter is not None] or fits
        if not fits:
            return None
        self._ready.remove(fits[0])
        self._leased[fits[0].access.name] = fits[0]
        return fits[0]

    def _leave(self, ground: Ground) -> None:
        """A test has changed the role, or made something beside its database: nobody else is to meet that."""
        if ground is not self._ground:
            return
        for clone in self._ready:
            self._pool.discard(clone)
        self._ready.clear()
        self._pool.discard(ground)
        self._ground = None

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._returned or self._lacks())
                self._let_connect()
                if self._closed:
                    return
                returned = self._returned.popleft() if self._returned else None
            if returned:
                self._recycle(returned)
            else:
                self._add()

    def _let_connect(self) -> None:
        """Stay off the CPU while the client connects to what it was given, as long as there is another one for it."""
        while self._ready and not self._closed and (left := self._quiet_until - time.monotonic()) > 0:
            self._changed.wait(left)

    def _lacks(self) -> bool:
        """Whether a database is to be made."""
        if self._problem is not None and not self._waiting:
            return False  # whoever asks next has it tried again
        clones = self._wanted == "clone"
        return sum(clone.resetter is None or not clones for clone in self._ready) < READY

    def _recycle(self, clone: Clone) -> None:
        ready = False
        with suppress(TestgroveError):  # it was dropped by its test, or its server is gone: the next clone will tell
            ready = clone.resetter is not None and clone.resetter.reset()
        with self._changed:
            if ready and clone.ground is self._ground:
                self._ready.append(clone)
                self._changed.notify_all()
                return
        self._pool.discard(clone)

    def _add(self) -> None:
        try:
            clone = self._make()
        except TestgroveError as error:
            with self._changed:
                self._problem = error
                self._changed.notify_all()
            return
        with self._changed:
            if clone is not None and clone.ground is self._ground:
                self._ready.append(clone)
                self._changed.notify_all()
                return
        if clone is not None:
            self._pool.discard(clone)

    def _make(self) -> Clone | None:
        if not self._pool.reserve():
            self._make_room()
            return None
        self._full_since = 0.0
        try:
            with self._changed:
                ground = self._ground
            if ground is None:
                self._grounds += 1
                ground = self._hand.make_ground(f"{self._number}_{self._grounds}")
                with self._changed:
                    self._ground = ground
                return None
            self._made += 1
            access = self._hand.access(ground, self._made)
            self._hand.make_clone(access, ground)
            if not self._waiting:
                with suppress(TestgroveError):  # it is only slower
                    self._hand.warm(access)
            return Clone(access, ground)
        except BaseException:
            self._pool.give_back()
            raise

    def _make_room(self) -> None:
        """The pool is full: what this share has too much of goes; then wait a little for others."""
        with self._changed:
            spare = [clone for clone in self._ready if self._wanted == "clone" and clone.resetter is not None]
            for clone in spare:
                self._ready.remove(clone)
            waiting = self._waiting
        for clone in spare:
            self._pool.discard(clone)
        self._full_since = self._full_since or time.monotonic()
        # Not longer: meanwhile this client may give something back.
        if not self._pool.wait_for_room(_PAUSE) and waiting and time.monotonic() - self._full_since > _PATIENCE:
            self._full_since = 0.0
            raise ExhaustedError(
                "pool-full",
                f"{self._pool.limit} databases are in use at once, and there is no room for more",
                hint="fewer workers, or more room where the server's data lies: df -h /dev/shm",
            )
