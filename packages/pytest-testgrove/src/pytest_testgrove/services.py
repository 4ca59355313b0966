"""The fixtures `redis_url`, `redis_socket` and `sqlite_path`: what else than PostgreSQL a test can have of its own.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Iterator, Optional

import pytest

from pytest_testgrove.databases import Lessor, explained
from pytest_testgrove.fixtures import url_of_worktree

_FIXTURES = ("redis_url", "redis_socket")


class Redis:
    """This process's instance. socket: of the file system; empty where there is none."""

    def __init__(self, url: str, socket: str = "", name: str = "", lessor: Optional[Lessor] = None) -> None:
        self.url, self.socket = url, socket
        self._name, self._lessor = name, lessor

    def empty(self, item: pytest.Item) -> None:
        """What tests before this one have left is gone."""
        from pytest_testgrove.broker import BrokerError  # noqa: PLC0415 - not needed where nobody asks

        if self._lessor is None:
            return
        try:
            self._lessor.empty(self._name)
        except BrokerError as error:
            if set(_FIXTURES) & set(getattr(item, "fixturenames", ())):
                pytest.fail(f"fixture 'redis_url': this session's Redis is gone: {error}", pytrace=False)


class Holder:
    """Where a test's set-up finds what is to be emptied before it."""

    redis: Optional[Redis] = None


_HOLDER = pytest.StashKey[Holder]()


def empty_before(item: pytest.Item) -> None:
    """Empty what this process holds, before a test is set up."""
    holder = item.config.stash.get(_HOLDER, None)
    if holder is not None and holder.redis is not None:
        holder.redis.empty(item)


@pytest.fixture(scope="session")
def _testgrove_redis(pytestconfig: pytest.Config, _testgrove_lessor: Lessor) -> Iterator[Redis]:
    holder = pytestconfig.stash[_HOLDER] = Holder()
    with explained("redis_url"):
        holder.redis = _found(pytestconfig, _testgrove_lessor)
    yield holder.redis
    holder.redis = None  # it goes with the lessor's connection


def _found(config: pytest.Config, lessor: Lessor) -> Redis:
    from pytest_testgrove import broker  # noqa: PLC0415 - not needed where nobody asks

    # A run on somebody else's server has a numbered database for its suite, and a broker for other engines or none.
    lends = not broker.in_a_run() or (os.environ.get(broker.SOCKET_VARIABLE) and "redis" in lessor.engines())
    if not lends:
        return Redis(url_of_worktree(config, "redis_url", "REDIS_URL", "redis"))
    found: "dict[str, Any]" = lessor.lease(engine="redis")
    return Redis(found["url"], found.get("socket", ""), found["name"], lessor)


@pytest.fixture(scope="session")
def redis_url(_testgrove_redis: Redis) -> str:
    """The URL of a Redis that this process, or xdist worker, has to itself; empty at the begin of every test."""
    return _testgrove_redis.url


@pytest.fixture(scope="session")
def redis_socket(_testgrove_redis: Redis) -> str:
    """The Unix socket of the same Redis."""
    if not _testgrove_redis.socket:
        pytest.fail("fixture 'redis_socket': this Redis is another machine's or user's; use redis_url", pytrace=False)
    return _testgrove_redis.socket


@pytest.fixture
def sqlite_path(request: pytest.FixtureRequest, _testgrove_lessor: Lessor) -> Iterator[Path]:
    """An SQLite file of this test's own, as the migration left it."""
    with explained("sqlite_path"):
        found = _testgrove_lessor.lease(engine="sqlite")
    yield Path(found["name"])
    with explained("sqlite_path"):
        _testgrove_lessor.give_back_from(request, found["name"])
