"""Carts, the queue, the news and the rate limit: all in this worktree's Redis, and nothing else in it."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta

import httpx
import pytest
from redis import Redis
from redis.client import PubSub
from sqlalchemy import Engine, text

from shop.errors import TooManyRequestsError
from shop.jobs import NEWS_CHANNEL, News, OrderQueue
from shop.limits import RateLimiter

MARK = 1  # the key that the session marked Redis with


def test_a_cart_holds_what_was_put_in_it(api: httpx.Client, redis: Redis) -> None:
    for sku, quantity in (("TEA-1", 2), ("CUP-1", 1), ("TEA-1", 3), ("CUP-1", 0)):
        api.put(f"/carts/1/{sku}", json={"quantity": quantity})
    assert api.get("/carts/1").json() == {"TEA-1": 3}
    assert redis.dbsize() == 1 + MARK


def test_carts_are_kept_apart_and_expire(api: httpx.Client, redis: Redis) -> None:
    for customer in range(1, 11):
        api.put(f"/carts/{customer}/TEA-1", json={"quantity": customer})
    assert [api.get(f"/carts/{customer}").json() for customer in (1, 10)] == [{"TEA-1": 1}, {"TEA-1": 10}]
    assert redis.dbsize() == 10 + MARK
    assert 0 < redis.ttl("cart:10") <= timedelta(days=7).total_seconds()


def test_each_order_is_news_twice_and_confirmed_in_turn(
    add_customer: Callable[..., int],
    add_product: Callable[..., str],
    order: Callable[..., httpx.Response],
    redis: Redis,
) -> None:
    customer, sku = add_customer(), add_product(quantity=10)
    with PubSub(redis.connection_pool, ignore_subscribe_messages=True) as listener:
        listener.subscribe(NEWS_CHANNEL)
        listener.get_message(timeout=5)  # the confirmation: from here on we are told everything
        assert redis.pubsub_numsub(NEWS_CHANNEL) == [(NEWS_CHANNEL, 1)]
        placed = [order(customer, {sku: 1}).json()["id"] for _ in range(10)]
        news = _until(News(placed[-1], "confirmed"), listener)
        redis.publish(NEWS_CHANNEL, json.dumps({"order_id": 0, "status": "the end"}))
        news += _until(News(0, "the end"), listener)
    told = [each for each in news if each.order_id in placed]
    assert [each.order_id for each in told if each.status == "confirmed"] == placed
    assert [each.order_id for each in told if each.status == "placed"] == placed
    assert len(told) == 20


def test_the_worker_confirms_what_waits(
    add_customer: Callable[..., int],
    add_product: Callable[..., str],
    order: Callable[..., httpx.Response],
    becomes: Callable[[int, str], None],
    database: Engine,
) -> None:
    customer, sku = add_customer(), add_product(quantity=10)
    placed = [order(customer, {sku: 1}).json()["id"] for _ in range(3)]
    for order_id in placed:
        becomes(order_id, "confirmed")
    with database.connect() as connection:
        rows = connection.execute(text("SELECT id, status FROM orders ORDER BY id")).all()
    assert [tuple(row) for row in rows] == [(order_id, "confirmed") for order_id in placed]


def test_the_worker_leaves_a_cancelled_order_alone(
    api: httpx.Client,
    add_customer: Callable[..., int],
    add_product: Callable[..., str],
    order: Callable[..., httpx.Response],
    becomes: Callable[[int, str], None],
    redis: Redis,
) -> None:
    customer, sku = add_customer(), add_product(quantity=10)
    cancelled = order(customer, {sku: 1}).json()["id"]
    api.post(f"/orders/{cancelled}/cancel")
    OrderQueue(redis).put(cancelled)
    becomes(order(customer, {sku: 1}).json()["id"], "confirmed")  # the queue has a single worker
    assert api.get(f"/orders/{cancelled}").json()["status"] == "cancelled"


def test_the_limit_counts_down_and_then_refuses(redis: Redis) -> None:
    limiter = RateLimiter(redis, name="test", calls=3, window=timedelta(minutes=5))
    assert [limiter.check("ada") for _ in range(3)] == [2, 1, 0]
    with pytest.raises(TooManyRequestsError, match="3 calls in 300 s"):
        limiter.check("ada")
    assert limiter.check("grace") == 2


def test_a_customer_who_orders_too_often_is_told_so(api: httpx.Client) -> None:
    answers = [api.post("/orders", json={"customer_id": 1}).status_code for _ in range(32)]
    assert answers == [404] * 30 + [429] * 2


def _until(last: News, listener: PubSub) -> list[News]:
    """What is told, up to this. Orders of earlier tests may be among it: the worker was not done with them."""
    found: list[News] = []
    while not found or found[-1] != last:
        message = listener.get_message(timeout=5)
        assert message is not None, f"no news within 5 s, after {found}"
        found.append(News.parse(message["data"]))
    return found
