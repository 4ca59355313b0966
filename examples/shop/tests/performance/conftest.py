"""A shop with some history, and a stopwatch."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest
from redis import Redis
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

CUSTOMERS, PRODUCTS, ORDERS, ITEMS = 200, 200, 5_000, 3
MARK = 1  # the customer that the session marked the database with

HISTORY = f"""
    INSERT INTO customers (id, email, name)
    SELECT n, 'customer' || n || '@example.com', 'Customer ' || n FROM generate_series(1, {CUSTOMERS}) n;
    INSERT INTO products (id, sku, name, price_cents)
    SELECT n, 'SKU-' || n, 'Product ' || n, 100 + n FROM generate_series(1, {PRODUCTS}) n;
    INSERT INTO stock (product_id, quantity) SELECT n, 1000 FROM generate_series(1, {PRODUCTS}) n;
    INSERT INTO orders (id, customer_id, status, placed_at)
    SELECT n, 1 + n % {CUSTOMERS}, (CASE WHEN n % 10 = 0 THEN 'cancelled' ELSE 'confirmed' END)::order_status,
           timestamptz '2026-01-01 00:00Z' + n * interval '10 minutes'
      FROM generate_series(1, {ORDERS}) n;
    INSERT INTO order_items (order_id, product_id, quantity, unit_price_cents)
    SELECT n, 1 + (n + 7 * k) % {PRODUCTS}, k, 100 + n % 50
      FROM generate_series(1, {ORDERS}) n, generate_series(1, {ITEMS}) k;
    SELECT setval(pg_get_serial_sequence('orders', 'id'), {ORDERS});
    ANALYZE customers, products, stock, orders, order_items
"""


@pytest.fixture(autouse=True)
def watch_the_marks(database: Engine, redis: Redis) -> None:
    """Every test looks at the marks, whatever else it needs."""


@pytest.fixture
def history(database: Engine) -> Iterator[Session]:
    """The same history for every test, with fixed keys."""
    with database.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for statement in HISTORY.split(";"):
            connection.execute(text(statement))
    with Session(database) as session:
        yield session
        session.rollback()
        for table, expected in (("customers", CUSTOMERS + MARK), ("products", PRODUCTS), ("stock", PRODUCTS)):
            found = session.scalar(text(f"SELECT count(*) FROM {table}"))
            assert found == expected, f"another session uses this database: {found} {table}"


@pytest.fixture
def fastest() -> Callable[[Callable[[], object]], float]:
    """Seconds that a call takes: the best of three, so that a busy machine does not fail the test."""

    def measure(call: Callable[[], object]) -> float:
        return min(_seconds(call) for _ in range(3))

    return measure


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
