"""What the suites share: this worktree's database and Redis, marked as ours for the whole session.

Every session writes a mark of its own into the database and into Redis, and looks at it again after every
test. Keys and counts in the tests are fixed. So two sessions that share a database or a Redis by mistake
fail, at once.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from uuid import uuid4

import pytest
from redis import Redis
from sqlalchemy import Connection, Engine, create_engine, text

from shop.models import Base, Customer
from shop.settings import database_url

MARK_ID = 1_000_000
MARK_KEY = "mark"


@pytest.fixture(scope="session")
def only_in_test_mode() -> None:
    """Keeps the tests away from anything that is not for tests."""
    if os.environ.get("TEST_MODE") != "true":
        pytest.fail("TEST_MODE is not 'true': these tests empty what DATABASE_URL and REDIS_URL name")


@pytest.fixture(scope="session")
def mark() -> str:
    """Names this session, and no other."""
    return f"{os.environ.get('WORKTREE_ID', 'no worktree')} {uuid4().hex}"


@pytest.fixture(scope="session")
def marked_engine(only_in_test_mode: None, mark: str) -> Iterator[Engine]:
    engine = create_engine(database_url(os.environ))
    try:
        with engine.begin() as connection:
            _delete_all(connection)
            connection.execute(
                text("INSERT INTO customers (id, email, name) VALUES (:id, 'mark@example.com', :name)"),
                {"id": MARK_ID, "name": mark},
            )
        yield engine
        with engine.begin() as connection:
            _delete_all(connection)
    finally:
        engine.dispose()


@pytest.fixture
def database(marked_engine: Engine, mark: str) -> Iterator[Engine]:
    """The migrated database of this worktree, empty but for the mark."""
    with marked_engine.begin() as connection:
        _delete_all(connection, but_customer=MARK_ID)
    yield marked_engine
    with marked_engine.connect() as connection:
        found = connection.scalars(text("SELECT name FROM customers WHERE id = :id"), {"id": MARK_ID}).all()
    assert found == [mark], "another session uses this database"


def _delete_all(connection: Connection, *, but_customer: int | None = None) -> None:
    for table in reversed(Base.metadata.sorted_tables):
        statement = table.delete()
        if table is Customer.__table__ and but_customer is not None:
            statement = statement.where(Customer.id != but_customer)
        connection.execute(statement)


@pytest.fixture(scope="session")
def marked_redis(only_in_test_mode: None, mark: str) -> Iterator[Redis]:
    with Redis.from_url(os.environ["REDIS_URL"], decode_responses=True) as client:
        client.flushdb()
        client.set(MARK_KEY, mark)
        yield client
        client.flushdb()


@pytest.fixture
def redis(marked_redis: Redis, mark: str) -> Iterator[Redis]:
    """The Redis of this worktree, empty but for the mark."""
    if others := [key for key in marked_redis.scan_iter() if key != MARK_KEY]:
        marked_redis.delete(*others)
    yield marked_redis
    assert marked_redis.get(MARK_KEY) == mark, "another session uses this Redis"
