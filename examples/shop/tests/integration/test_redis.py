"""Carts, the queue, the news and the rate limit: all in this worktree's Redis, and nothing else in it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta

import httpx
import pytest
from redis import Redis
from redis.client import PubSub

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


def test_each_order_is_news_exactly_once(
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
        news = [_next(listener) for _ in placed]
        redis.publish(NEWS_CHANNEL, "the end")
        last = listener.get_message(timeout=5)
    assert news == [News(order_id, "placed") for order_id in placed]
    assert last is not None
    assert last["data"] == "the end"


def test_orders_wait_in_the_queue_in_their_order(
    add_customer: Callable[..., int],
    add_product: Callable[..., str],
    order: Callable[..., httpx.Response],
    redis: Redis,
) -> None:
    customer, sku = add_customer(), add_product(quantity=10)
    placed = [order(customer, {sku: 1}).json()["id"] for _ in range(5)]
    queue = OrderQueue(redis)
    assert len(queue) == 5
    assert [queue.take() for _ in range(6)] == [*placed, None]


def test_the_worker_confirms_what_waits(
    api: httpx.Client,
    add_customer: Callable[..., int],
    add_product: Callable[..., str],
    order: Callable[..., httpx.Response],
) -> None:
    customer, sku = add_customer(), add_product(quantity=10)
    placed = [order(customer, {sku: 1}).json()["id"] for _ in range(3)]
    api.post(f"/orders/{placed[1]}/cancel")
    worker = subprocess.run(
        [sys.executable, "-m", "shop.worker"],
        env=os.environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert worker.stdout == "confirmed 2\n"
    states = [api.get(f"/orders/{order_id}").json()["status"] for order_id in placed]
    assert states == ["confirmed", "cancelled", "confirmed"]


def test_the_limit_counts_down_and_then_refuses(redis: Redis) -> None:
    limiter = RateLimiter(redis, name="test", calls=3, window=timedelta(minutes=5))
    assert [limiter.check("ada") for _ in range(3)] == [2, 1, 0]
    with pytest.raises(TooManyRequestsError, match="3 calls in 300 s"):
        limiter.check("ada")
    assert limiter.check("grace") == 2


def test_a_customer_who_orders_too_often_is_told_so(api: httpx.Client) -> None:
    answers = [api.post("/orders", json={"customer_id": 1}).status_code for _ in range(32)]
    assert answers == [404] * 30 + [429] * 2


def _next(listener: PubSub) -> News:
    message = listener.get_message(timeout=5)
    assert message is not None, "no news within 5 s"
    return News.parse(message["data"])
