"""One client's allocation of a pool of databases: ready ones, those in use, and those that it gave back.

A client's databases belong to two roles, each with its own base. While one role is checked after a test, the next test
gets a database of the other role and need not wait.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from testgrove.errors import ExhaustedError, PreconditionError, TestgroveError, UnavailableError
from testgrove.services.allocation import Allocation

if TYPE_CHECKING:
    from testgrove.core.model import DatabaseAccess
    from testgrove.services.engines.postgres.pool import ClonePool
    from testgrove.services.engines.postgres.pool_roles import ClientBase
    from testgrove.services.engines.postgres.reset import Resetter

Isolation = Literal["clone", "reset", "transaction"]
READY = 2  # databases created in advance for each client
CONNECTING = 0.006  # seconds after a hand-out in which its client connects: two CPUs are soon shared by three
_MAX_BASES = 2
_TIMEOUT = 120.0  # seconds that a client waits for a database at most
_PATIENCE = 5.0  # seconds for others to give back what they have, where the pool is full
_PAUSE = 0.05


@dataclass(eq=False)
class Clone:
    """A database of an allocation. resetter: there once it was handed out to be reset."""

    access: DatabaseAccess
    base: ClientBase
    resetter: Resetter | None = None
    isolation: Isolation = "clone"


class PostgresAllocation(Allocation):
    """One client's part of a pool. The client has it to itself; close() when it has left."""

    def __init__(self, pool: ClonePool, number: int) -> None:
        self._pool = pool
        self._admin = pool.admin()
        self._number = number
        self._made = 0
        self._bases_made = 0
        self._bases: list[ClientBase] = []
        self._ready: deque[Clone] = deque()
        self._given_back: deque[Clone] = deque()  # and what their tests did to their roles is not known yet
        self._written: deque[Clone] = deque()  # to be reset
        self._leased: dict[str, Clone] = {}
        self._wanted: Isolation = "clone"
        self._waiting = False
        self._quiet_until = 0.0
        self._asked = 0  # number of waits so far
        self._problem: TestgroveError | None = None
        self._full_since = 0.0
        self._closed = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, name=f"pool-{number}", daemon=True)
        self._thread.start()

    def is_lost(self, patience: float = 0.0) -> bool:
        """Implement Allocation."""
        return self._pool.is_lost(patience)

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
        """Take back a database that the client does not need any more. Raises PreconditionError (``not-leased``)."""
        with self._changed:
            self._given_back.append(self._take_back(name))
            self._quiet_until = time.monotonic() + CONNECTING  # most often another test begins
            self._changed.notify_all()

    def keep(self, name: str) -> None:
        """Keep a database unchanged until the server stops. Raises PreconditionError, ExhaustedError."""
        if name in self._leased:
            self._pool.keep()
        clone = self._take_back(name)
        if clone.resetter:
            clone.resetter.close()

    def close(self) -> None:
        """Take back everything; callers that wait for a database get an error. A second call does nothing."""
        with self._changed:
            closed, self._closed = self._closed, True
            self._changed.notify_all()
        if closed:
            return
        self._thread.join()
        for clone in (*self._leased.values(), *self._given_back, *self._written, *self._ready):
            self._pool.discard(clone)
        for base in self._bases:
            self._pool.discard(base)
        self._admin.close()

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
            self._asked += 1
            self._changed.notify_all()
            try:
                while (clone := self._pick()) is None:
                    if self._problem is not None:
                        raise self._problem
                    if self._closed:
                        raise UnavailableError("broker-closed", "the broker has closed")
                    if not self._changed.wait(max(0.0, deadline - time.monotonic())):
                        raise UnavailableError("pool-slow", f"timed out: no database was ready within {_TIMEOUT:g} s")
            finally:
                self._waiting = False
            self._quiet_until = time.monotonic() + CONNECTING
            self._changed.notify_all()  # there is room for another
        return clone

    def _pick(self) -> Clone | None:
        """Return a ready database: an unused one for a clone; for a reset, preferably a used one."""
        sure = self._sure()
        fits = [clone for clone in sure if clone.resetter is None]
        if self._wanted != "clone":
            fits = [clone for clone in sure if clone.resetter is not None] or fits
        if not fits:
            return None
        self._ready.remove(fits[0])
        self._leased[fits[0].access.name] = fits[0]
        return fits[0]

    def _sure(self) -> list[Clone]:
        """Those that can be handed out: no test may have done something to their role."""
        unsure = [clone.base for clone in self._given_back]
        return [clone for clone in self._ready if clone.base not in unsure]

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._given_back or self._written or self._lacks())
                self._let_connect()
                if self._closed:
                    return
                given_back = self._given_back[0] if self._given_back else None
                written = self._written.popleft() if self._written and not given_back else None
            if given_back:
                self._look_after(given_back)
            elif written:
                self._recycle(written)
            else:
                self._add()

    def _look_after(self, clone: Clone) -> None:
        """Clean up after a test: no later test may see changes of its role, or other databases that it created."""
        base, spoiled = clone.base, True
        with self._changed:
            alone = all(leased.base is not base for leased in self._leased.values())
        with suppress(TestgroveError):  # the next request reports it
            spoiled = self._admin.is_spoiled(base, alone=alone)
        with self._changed:
            self._given_back.remove(clone)
            if spoiled and base in self._bases:
                self._leave(base)
            if spoiled or clone.isolation == "clone":
                self._pool.discard(clone)
            else:
                self._written.append(clone)
            self._changed.notify_all()

    def _leave(self, base: ClientBase) -> None:
        for clone in [clone for clone in self._ready if clone.base is base]:
            self._ready.remove(clone)
            self._pool.discard(clone)
        self._bases.remove(base)
        self._pool.discard(base)

    def _let_connect(self) -> None:
        """Leave the CPU to the client while it connects to its database, as long as another one is ready for it."""
        while self._sure() and not self._closed:
            if (left := self._quiet_until - time.monotonic()) <= 0:
                return
            self._changed.wait(left)

    def _lacks(self) -> bool:
        """Return whether to create another database."""
        if self._problem is not None:
            return False  # the next request retries
        clones = self._wanted == "clone"
        return sum(clone.resetter is None or not clones for clone in self._ready) < READY

    def _recycle(self, clone: Clone) -> None:
        ready = False
        with suppress(TestgroveError):  # its test dropped it, or its server is gone: the next clone reports that
            ready = clone.resetter is not None and clone.resetter.reset()
        with self._changed:
            if ready and clone.base in self._bases:
                self._ready.append(clone)
                self._changed.notify_all()
                return
        self._pool.discard(clone)

    def _add(self) -> None:
        asked = self._asked
        try:
            clone = self._make()
        except TestgroveError as error:
            with self._changed:
                if asked == self._asked:  # else there is a new request: retry, it may succeed now
                    self._problem = error
                self._changed.notify_all()
            return
        with self._changed:
            if clone is not None and clone.base in self._bases:
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
            base = self._base_to_clone()
            if base is None:
                self._bases_made += 1
                base = self._admin.create_base(f"{self._number}_{self._bases_made}")
                with self._changed:
                    self._bases.append(base)
                return None
            self._made += 1
            access = self._admin.access(base, self._made)
            self._admin.make_clone(access, base)
            if not self._waiting:
                with suppress(TestgroveError):  # it is only slower
                    self._admin.warm(access)
            return Clone(access, base)
        except BaseException:
            self._pool.give_back()
            raise

    def _base_to_clone(self) -> ClientBase | None:
        """Return the base with the fewest ready clones; None if another base is needed."""
        with self._changed:
            few = 1 if not self._ready or not self._pool.is_roomy else _MAX_BASES
            if len(self._bases) < few:
                return None
            ready = [clone.base for clone in self._ready]
            return min(self._bases, key=ready.count)

    def _make_room(self) -> None:
        """Handle a full pool: drop surplus databases of this allocation, then wait a little for other allocations."""
        with self._changed:
            spare = [clone for clone in self._ready if self._wanted == "clone" and clone.resetter is not None]
            for clone in spare:
                self._ready.remove(clone)
            waiting = self._waiting
        for clone in spare:
            self._pool.discard(clone)
        self._full_since = self._full_since or time.monotonic()
        # Not longer: this client may give something back in the meantime.
        if not self._pool.wait_for_room(_PAUSE) and waiting and time.monotonic() - self._full_since > _PATIENCE:
            self._full_since = 0.0
            raise ExhaustedError(
                "pool-full",
                f"all {self._pool.limit} databases are in use, and there is no memory or disk space for more",
                hint="use fewer workers, or free space for the server's data: df -h /dev/shm",
            )
