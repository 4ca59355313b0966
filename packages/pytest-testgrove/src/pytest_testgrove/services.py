"""The fixtures `redis_url`, `redis_socket` and `sqlite_path`: what else than PostgreSQL a test can have of its own.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, Callable, Iterator, Optional

import pytest

from pytest_testgrove.databases import LeaseClient, explained
from pytest_testgrove.fixtures import url_of_worktree
from pytest_testgrove.names import REDIS, SQLITE, both_names

_FIXTURES = ("redis_url", "redis_socket", "testgrove_redis_url", "testgrove_redis_socket")


class Redis:
    """This process's instance. socket: of the file system; empty where there is none."""

    def __init__(self, url: str, socket: str = "", name: str = "", client: Optional[LeaseClient] = None) -> None:
        self.url, self.socket = url, socket
        self._name, self._client = name, client

    def empty(self, item: pytest.Item) -> None:
        """Empty the instance of data that earlier tests left."""
        from pytest_testgrove.broker import BrokerError  # noqa: PLC0415 - only needed on request

        if self._client is None:
            return
        try:
            self._client.empty(self._name)
        except BrokerError as error:
            if set(_FIXTURES) & set(getattr(item, "fixturenames", ())):
                pytest.fail(f"fixture 'redis_url': this session's Redis is not available: {error}", pytrace=False)


class Holder:
    """The place where a test's set-up finds what is to be emptied before it."""

    redis: Optional[Redis] = None


_HOLDER = pytest.StashKey[Holder]()


def empty_before(item: pytest.Item) -> None:
    """Empty what this process holds, before a test is set up."""
    holder = item.config.stash.get(_HOLDER, None)
    if holder is not None and holder.redis is not None:
        holder.redis.empty(item)


@pytest.fixture(scope="session")
def _testgrove_redis(pytestconfig: pytest.Config, _testgrove_lease_client: LeaseClient) -> Iterator[Redis]:
    holder = pytestconfig.stash[_HOLDER] = Holder()
    with explained("redis_url"):
        holder.redis = _found(pytestconfig, _testgrove_lease_client)
    yield holder.redis
    holder.redis = None  # it goes with the client's connection


def _found(config: pytest.Config, client: LeaseClient) -> Redis:
    from pytest_testgrove import broker  # noqa: PLC0415 - only needed on request

    # A run on an external server has a numbered database for its suite; its broker, if any, is for other engines.
    lends = not broker.in_a_run() or (os.environ.get(broker.SOCKET_VARIABLE) and REDIS in client.engines())
    if not lends:
        return Redis(url_of_worktree(config, "redis_url", "REDIS_URL", REDIS))
    found: "dict[str, Any]" = client.lease(engine=REDIS)
    return Redis(found["url"], found.get("socket", ""), found["name"], client)


def _redis_url(_testgrove_redis: Redis) -> str:
    """The URL of a Redis that this process, or xdist worker, has to itself; empty at the begin of every test."""
    return _testgrove_redis.url


redis_url, testgrove_redis_url = both_names(_redis_url, "redis_url", "session")


def _redis_socket(_testgrove_redis: Redis) -> str:
    """The Unix socket of the same Redis."""
    if not _testgrove_redis.socket:
        pytest.fail(
            "fixture 'redis_socket': this Redis is on another machine or belongs to another user; use redis_url",
            pytrace=False,
        )
    return _testgrove_redis.socket


redis_socket, testgrove_redis_socket = both_names(_redis_socket, "redis_socket", "session")


def _sqlite_path(request: pytest.FixtureRequest, _testgrove_lease_client: LeaseClient) -> Iterator[Path]:
    """An SQLite file of this test's own, as the migration left it."""
    with explained("sqlite_path"):
        found = _testgrove_lease_client.lease(engine=SQLITE)
    yield Path(found["name"])
    with explained("sqlite_path"):
        _testgrove_lease_client.give_back_from(request, found["name"])


sqlite_path, testgrove_sqlite_path = both_names(_sqlite_path, "sqlite_path")


class Service:
    """A database of a service, for one test. url: for drivers; name, host, port, user, password: its parts; socket: of
    a server that the test has alone. Parts that are not known are empty."""

    def __init__(self, values: "dict[str, Any]") -> None:
        self.url: str = values["url"]
        self.name: str = values.get("name", "")
        self.host: str = values.get("host", "")
        self.port: int = values.get("port", 0)
        self.user: str = values.get("user", "")
        self.password: str = values.get("password", "")
        self.socket: str = values.get("socket", "")

    def __repr__(self) -> str:
        return f"Service({self.name!r} at {self.host}:{self.port})"


@pytest.fixture
def testgrove_service(
    request: pytest.FixtureRequest, _testgrove_lease_client: LeaseClient
) -> "Iterator[Callable[..., Service]]":
    """Return a function that gives this test a database of a service: ``testgrove_service("analytics").url``."""
    found: "dict[str, Service]" = {}
    yield _giver("testgrove_service", request.config, _testgrove_lease_client, found)
    for name, service in reversed(list(found.items())):
        if service.name:
            with explained(f"testgrove_service({name!r})"):
                _testgrove_lease_client.give_back_from(request, service.name)


@pytest.fixture(scope="session")
def testgrove_worker_service(
    pytestconfig: pytest.Config, _testgrove_lease_client: LeaseClient
) -> "Iterator[Callable[..., Service]]":
    """The same for this process, or xdist worker, and the whole session."""
    found: "dict[str, Service]" = {}
    yield _giver("testgrove_worker_service", pytestconfig, _testgrove_lease_client, found)
    for service in found.values():
        if service.name:
            _testgrove_lease_client.give_back(service.name)


def _giver(
    fixture: str, config: pytest.Config, client: LeaseClient, found: "dict[str, Service]"
) -> "Callable[..., Service]":
    def get(name: str, **wanted: str) -> Service:
        if name not in found:
            with explained(f"{fixture}({name!r})"):
                found[name] = _of_service(config, client, name, wanted)
        return found[name]

    return get


def _of_service(config: pytest.Config, client: LeaseClient, name: str, wanted: "dict[str, str]") -> Service:
    from pytest_testgrove import broker  # noqa: PLC0415 - only needed on request

    lends = not broker.in_a_run() or (os.environ.get(broker.SOCKET_VARIABLE) and name in client.engines())
    if lends:
        return Service(client.lease(service=name, **wanted))
    # On an external server without databases for single tests, all tests of a suite share the worktree's.
    variable = f"{re.sub('[^A-Za-z0-9]', '_', name).upper()}_URL"
    return Service({"url": url_of_worktree(config, f"testgrove_service({name!r})", variable, name)})
