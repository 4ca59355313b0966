"""The API and the worker that this suite talks to are this worktree's, and nobody else calls them."""

from __future__ import annotations

import os
from uuid import uuid4

import httpx
from redis import Redis
from sqlalchemy import Engine, text


def test_the_server_is_this_worktrees(api: httpx.Client, database: Engine, redis: Redis) -> None:
    """What is written through it is in this worktree's database, what it reads comes from this worktree's Redis."""
    assert api.get("/identity").json()["worktree"] == os.environ["WORKTREE_ID"]
    sku = f"S-{uuid4().hex[:12].upper()}"
    assert api.post("/products", json={"sku": sku, "name": "A", "price_cents": 1}).status_code == 201
    with database.connect() as connection:
        assert connection.scalars(text("SELECT sku FROM products")).all() == [sku]
    redis.hset("cart:77", sku, "3")
    assert api.get("/carts/77").json() == {sku: 3}


def test_the_server_got_the_requests_of_this_session_and_no_others(
    api: httpx.Client, requests_before: int, answered: list[int]
) -> None:
    for _ in range(50):
        requests = api.get("/identity").json()["requests"]
        assert requests == requests_before + len(answered)


def test_the_address_is_in_the_environment(api: httpx.Client) -> None:
    assert api.base_url == os.environ.get("API_URL", api.base_url)


def test_the_database_and_redis_answer(api: httpx.Client) -> None:
    assert api.get("/health").json() == {"status": "ok"}


def test_an_unknown_path_is_not_found(api: httpx.Client) -> None:
    assert api.get("/nothing").status_code == 404
