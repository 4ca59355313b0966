"""Redis or Valkey on an external server, by URL: a numbered database for each worktree.

Marks are stored outside the databases, because tests empty their database and check that it is empty: in a hash in one
reserved numbered database, with a field for each database in use. Each holder has a connection with the name in its
mark; when the connection is closed, the holder is gone. A database that contains keys but has no mark is never chosen,
never written to and never emptied.
"""

from __future__ import annotations

import secrets
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from testgrove.core.leases import lease_by_mark
from testgrove.core.model import DatabaseAccess, Lease, LeaseKind
from testgrove.core.server_url import ServerUrl, parse_server_url
from testgrove.errors import ExhaustedError, PreconditionError, UnavailableError
from testgrove.services.base import Endpoint
from testgrove.services.owner_marks import Kind, Mark, now, token_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from redis import Redis

    from testgrove.core.leases import Leases
    from testgrove.core.secret import Secret
    from testgrove.core.settings.types import Service

MARKS = "testgrove:databases"
_BEAT = 20.0  # seconds; servers end connections that idle
_DEFAULT_COUNT = 16
_LEAST = 3  # number 0, which stays the user's, one for the marks, and one for a worktree


@contextmanager
def _reported(url: ServerUrl) -> Iterator[None]:
    try:
        from redis.exceptions import RedisError  # noqa: PLC0415 - heavy, and an extra
    except ImportError as error:
        raise PreconditionError(
            "no-driver",
            "a Redis URL requires the driver redis, which is not installed",
            hint="pip install 'testgrove[redis]'",
        ) from error
    try:
        yield
    except RedisError as error:
        raise UnavailableError(
            "server-unreachable",
            f"cannot use {url.location}: {' '.join(str(error).split())}",
            hint=f"redis-cli -h {url.host} -p {url.port} PING",
        ) from None  # the driver's trace may show the connection's arguments


def _connect(url: ServerUrl, number: int, **options: Any) -> Redis:
    from redis import Redis  # noqa: PLC0415 - heavy, and an extra

    return Redis.from_url(
        url.with_database(str(number), url.user, url.password).reveal(),
        socket_connect_timeout=5,
        socket_timeout=10,
        socket_keepalive=True,
        decode_responses=True,
        **options,
    )


def check_connection(url: ServerUrl) -> tuple[str, Secret]:
    """The user and the password of the URL. Raises UnavailableError unless the database that the URL names answers."""
    with _reported(url), _connect(url, int(url.database or 0)) as connection:
        connection.ping()
    return url.user, url.password


class ExternalRedis:
    """An external server, as one command uses it. Safe to use from several threads.

    Call open() first and close() at the end: databases of ``kind`` run are released with this owner.
    """

    def __init__(self, url: ServerUrl, service: Service | None = None) -> None:  # noqa: ARG002 - any version will do
        self.url = url
        self._lock = secrets.randbits(62)
        self._closed = threading.Event()
        self._beat = threading.Thread(target=self._keep_alive, name="redis-owner", daemon=True)
        self._owner: Redis

    def open(self) -> None:
        """Connect, register as a living owner, find the database of the marks.

        Raises UnavailableError (``server-unreachable``), ExhaustedError (``databases-used-up``), PreconditionError
        (``no-numbered-databases``).
        """
        with _reported(self.url):
            # Any database will do: only the connection's name matters. Number 0 is never written to.
            self._owner = _connect(self.url, 0, client_name=f"testgrove-{self._lock}", single_connection_client=True)
            server = self._owner.info("server")
            self._count = _count(self._owner)
            if server.get("redis_mode") == "cluster" or self._count < _LEAST:
                raise self._undivided()
            self._marks = _connect(self.url, self._marks_database())
        self._beat.start()
        at = self.url
        self.endpoint = Endpoint("redis", str(server["redis_version"]), at.host, at.port, at.user, at.password)

    def _undivided(self) -> PreconditionError:
        """A prefix of keys would not do: applications choose their keys, and FLUSHDB would empty all of them."""
        self._owner.close()
        return PreconditionError(
            "no-numbered-databases",
            f"{self.url.location} has no numbered databases for worktrees (a cluster, or `databases` below {_LEAST})",
            hint='in its table, set host = "embedded"; or isolation = "none" if all worktrees may share its keys',
        )

    @property
    def note(self) -> str:
        """A note for its user."""
        return f"{self.url.location}: numbered databases, which share pub/sub, scripts and FLUSHALL"

    def traits(self) -> None:
        """There are no templates."""

    def pool(self, find: Callable[[], str], leases: Leases, owner: str) -> None:
        """There are not enough numbers for tests to have their own."""

    def close(self) -> None:
        """Disconnect: other commands then see this owner as gone."""
        self._closed.set()
        self._beat.join()
        self._owner.close()
        self._marks.close()

    def _keep_alive(self) -> None:
        from redis.exceptions import RedisError  # noqa: PLC0415 - heavy, and an extra

        while not self._closed.wait(_BEAT):
            with suppress(RedisError):
                self._owner.ping()

    def _marks_database(self) -> int:
        used = _used(self._owner)
        known = _known_marks_database(self.url, used)
        if known is not None:
            return known
        free = [number for number in range(self._count) if number not in used]
        if not free:
            raise self._used_up()
        return free[-1]

    def _used_up(self) -> ExhaustedError:
        return ExhaustedError(
            "databases-used-up",
            f"all {self._count} numbered databases of {self.url.location} are in use",
            hint='use an embedded server instead: [tool.testgrove.services.redis] host = "embedded"',
        )

    def create_database(
        self,
        name: str = "",  # noqa: ARG002 - it has a number
        *,
        template: str = "",  # noqa: ARG002 - there are none
        owner: str,
        leases: Leases,
        kind: Kind = "run",
    ) -> DatabaseAccess:
        """A numbered database that is empty and nobody else's, whatever name it was to have.

        The lease is recorded before the database is marked; the caller undoes it (drop_leased) and deletes it. Raises
        ExhaustedError (``databases-used-up``).
        """
        mark = Mark(kind, secrets.token_hex(8), self._lock, owner, now())
        passed_over: set[int] = set()
        with _reported(self.url):
            while lease := self._lease_one(passed_over, mark.token, leases):
                number = int(lease.data["number"])
                if self._claim(number, mark):
                    at = self.endpoint
                    own_url = self.url.with_database(str(number), at.user, at.password)
                    return DatabaseAccess(
                        "redis", str(number), at.host, at.port, at.user, at.password, external_url=own_url
                    )
                leases.forget(lease)
                passed_over.add(number)
        raise self._used_up()

    def _lease_one(self, passed_over: set[int], token: str, leases: Leases) -> Lease | None:
        there = int(self._marks.connection_pool.connection_kwargs["db"])
        held = {int(number) for number in self._marks.hkeys(MARKS)}
        free = set(range(1, self._count)) - (_used(self._owner) - held) - passed_over - {there}

        def choose(taken: frozenset[str]) -> Sequence[Lease]:
            names = ((number, f"{self.url.location} {number}") for number in sorted(free, key=lambda n: (n in held, n)))
            found = next(((number, name) for number, name in names if name not in taken), None)
            if found is None:
                return ()
            data = {
                "engine": "redis",
                "url": self.url.text.reveal(),
                "number": found[0],
                "marks": there,
                "token": token,
            }
            return (Lease(LeaseKind.DATABASE, found[1], data),)

        return next(iter(leases.choose(LeaseKind.DATABASE, choose)), None)

    def _claim(self, number: int, mark: Mark) -> bool:
        """Mark a database if it is free: empty without a mark, or of a dead owner; then it is emptied."""
        if self._marks.hsetnx(MARKS, str(number), mark.dump()):
            with _connect(self.url, number) as database:
                if database.dbsize() == 0:
                    return True
            self._marks.hdel(MARKS, str(number))
            return False
        if not self._take_over(number, mark):
            return False
        with _connect(self.url, number) as database:
            database.flushdb()
        return True

    def _take_over(self, number: int, mark: Mark) -> bool:
        """Replace a dead owner's mark; return False if there is none, or another command was faster."""
        from redis.exceptions import WatchError  # noqa: PLC0415 - heavy, and an extra

        with self._marks.pipeline() as pipe:
            pipe.watch(MARKS)  # type: ignore[no-untyped-call] # redis-py has no types for it
            old = Mark.load(str(pipe.hget(MARKS, str(number))))
            if old is None or not old.dropped_with_owner or old.lock in _alive(self._owner):
                return False
            pipe.multi()
            pipe.hset(MARKS, str(number), mark.dump())
            try:
                pipe.execute()
            except WatchError:
                return False
        return True

    def sweep(self) -> list[str]:
        """Empty the databases of runs that are gone, also those of other machines; their numbers."""
        gone = []
        with _reported(self.url):
            for number in self._marks.hkeys(MARKS):
                mark = Mark("run", secrets.token_hex(8), self._lock, "a clean-up", now())
                if self._take_over(int(number), mark):
                    with _connect(self.url, int(number)) as database:
                        database.flushdb()
                    self._marks.hdel(MARKS, number)
                    gone.append(str(number))
        return gone


def _alive(connection: Redis) -> set[int]:
    """The locks of the owners that are connected."""
    names = (str(client.get("name", "")) for client in connection.client_list())
    return {int(name.removeprefix("testgrove-")) for name in names if name.startswith("testgrove-")}


def _count(connection: Redis) -> int:
    from redis.exceptions import ResponseError  # noqa: PLC0415 - heavy, and an extra

    try:
        return int(connection.config_get("databases").get("databases") or _DEFAULT_COUNT)
    except ResponseError:  # managed servers hide their configuration
        return _DEFAULT_COUNT


def _known_marks_database(url: ServerUrl, used: set[int]) -> int | None:
    """The numbered database that has nothing but the marks in it; None where there are no marks."""
    for number in sorted(used, reverse=True):
        with _connect(url, number) as there:
            if there.type(MARKS) == "hash" and there.dbsize() == 1:
                return number
    return None


def _used(connection: Redis) -> set[int]:
    """The numbers of the databases that hold a key."""
    return {int(name.removeprefix("db")) for name in connection.info("keyspace")}


def drop_leased(data: Mapping[str, Any], *, held: bool = False) -> str:
    """Empty the database that a lease's data name, and give it back. Idempotent.

    held: its owner held it until now; else only one that still has our mark is touched. Returns what should be
    known. Raises UnavailableError when the server does not answer.
    """
    url, number = parse_server_url("redis", data["url"]), data["number"]
    with _reported(url), _connect(url, number) as database, _connect(url, _marks_of(data, url, database)) as marks:
        mark = Mark.load(marks.hget(MARKS, str(number)))
        ours = mark is not None and mark.token == token_of(data, mark)
        if ours or (mark is None and held):
            database.flushdb()
        elif mark is None and database.dbsize():
            return f"kept database {number} of {url.location}: its testgrove mark is missing"
        if ours:
            marks.hdel(MARKS, str(number))
    return ""


def _marks_of(data: Mapping[str, Any], url: ServerUrl, connection: Redis) -> int:
    """Return where the mark of a lease stands. One that was learnt again after the store was lost does not say."""
    known: int | None = data["marks"]
    return known if known is not None else _known_marks_database(url, _used(connection)) or 0


def lease_of(url: ServerUrl, name: str, owner: str) -> Lease:
    """Implement External.lease_by_mark()."""
    return lease_by_mark(url, name, owner, {"number": int(name), "marks": None})
