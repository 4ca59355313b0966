"""What customers and the owner wait for. Budgets are ten times and more what a slow machine needs."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta

from redis import Redis
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from shop.carts import Carts
from shop.catalogue import Catalogue
from shop.limits import RateLimiter
from shop.orders import place_order
from shop.sales import best_sellers, newest_orders, revenue_by_day

Fastest = Callable[[Callable[[], object]], float]
TODAY = date(2026, 3, 1)


def test_best_sellers_of_everything(history: Session, fastest: Fastest) -> None:
    assert fastest(lambda: best_sellers(history)) < 1.0
    assert sum(product.pieces for product in best_sellers(history, limit=1000)) == 4_500 * (1 + 2 + 3)


def test_revenue_by_day(history: Session, fastest: Fastest) -> None:
    days = revenue_by_day(history, date(2026, 1, 1))
    assert (len(days), sum(day.orders for day in days)) == (35, 4_500)
    assert fastest(lambda: revenue_by_day(history, date(2026, 1, 1))) < 1.5


def test_a_customers_newest_orders_are_read_through_the_index(history: Session, fastest: Fastest) -> None:
    assert len(newest_orders(history, customer_id=7)) == 20
    assert fastest(lambda: [newest_orders(history, customer_id=number) for number in range(1, 51)]) < 1.5
    plan = history.scalars(text("EXPLAIN SELECT id FROM orders WHERE customer_id = 7")).all()
    assert any("ix_orders_customer_id" in line for line in plan)


def test_a_hundred_orders_are_placed(history: Session, fastest: Fastest) -> None:
    def place_a_hundred() -> None:
        for number in range(1, 101):
            place_order(history, number, {f"SKU-{number}": 1, f"SKU-{number + 1}": 2}, today=TODAY)
        history.rollback()

    assert fastest(place_a_hundred) < 10.0
    assert history.scalar(text("SELECT min(quantity) FROM stock")) == 1000


def test_the_cache_spares_the_database(history: Session, redis: Redis, fastest: Fastest) -> None:
    catalogue = Catalogue(redis)
    assert len(catalogue.list(history)) == 200
    history.rollback()
    assert fastest(lambda: [catalogue.list(history) for _ in range(50)]) < 1.5
    assert not history.in_transaction()


def test_a_thousand_cart_changes_and_limits(database: Engine, redis: Redis, fastest: Fastest) -> None:
    carts = Carts(redis)
    limiter = RateLimiter(redis, name="test", calls=10_000, window=timedelta(minutes=5))

    def shop_around() -> None:
        for customer in range(1, 501):
            carts.put(customer, "SKU-1", 1)
            limiter.check("everybody")

    assert fastest(shop_around) < 5.0
    assert redis.dbsize() == 500 + 1 + 1  # carts, the limit, the mark
    assert limiter.check("everybody") == 10_000 - 3 * 500 - 1
