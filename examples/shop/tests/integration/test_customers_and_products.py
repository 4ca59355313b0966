"""Registering customers and putting products on sale."""

from __future__ import annotations

from collections.abc import Callable

import httpx
from redis import Redis
from sqlalchemy import Engine, text

MARK = 1  # the row that the session marked the database with


def test_a_customer_is_stored(api: httpx.Client, add_customer: Callable[..., int], database: Engine) -> None:
    customer = add_customer("ada@example.com", "  Ada  ")
    with database.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM customers")) == 1 + MARK
        row = connection.execute(
            text("SELECT email, name FROM customers WHERE id = :id"), {"id": customer}
        ).one()
    assert tuple(row) == ("ada@example.com", "Ada")


def test_an_email_address_registers_once_however_it_is_capitalised(
    api: httpx.Client, add_customer: Callable[..., int], database: Engine
) -> None:
    add_customer("ada@example.com")
    response = api.post("/customers", json={"email": "ADA@example.com", "name": "Ada"})
    assert (response.status_code, response.json()["detail"]) == (409, "ADA@example.com is registered already")
    with database.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM customers")) == 1 + MARK


def test_twenty_customers_are_twenty_rows(add_customer: Callable[..., int], database: Engine) -> None:
    ids = {add_customer(f"customer{number}@example.com") for number in range(20)}
    assert len(ids) == 20
    with database.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM customers")) == 20 + MARK


def test_products_are_listed_by_sku(api: httpx.Client, add_product: Callable[..., str]) -> None:
    assert api.get("/products").json() == []
    for sku in ("TEA-2", "CUP-1", "TEA-1"):
        add_product(sku, price_cents=300)
    assert [product["sku"] for product in api.get("/products").json()] == ["CUP-1", "TEA-1", "TEA-2"]


def test_a_sku_is_taken_once(api: httpx.Client, add_product: Callable[..., str]) -> None:
    add_product("TEA-1")
    response = api.post("/products", json={"sku": "TEA-1", "name": "Other tea", "price_cents": 1})
    assert (response.status_code, response.json()["detail"]) == (409, "there is a product TEA-1 already")


def test_the_catalogue_is_answered_from_the_cache(
    api: httpx.Client, add_product: Callable[..., str], redis: Redis
) -> None:
    add_product("TEA-1")
    first = api.get("/products").json()
    cached = redis.get("catalogue")
    assert isinstance(cached, str)
    redis.set("catalogue", cached.replace("TEA-1", "FROM-CACHE"))
    assert [product["sku"] for product in first + api.get("/products").json()] == ["TEA-1", "FROM-CACHE"]


def test_a_new_product_empties_the_cache(api: httpx.Client, add_product: Callable[..., str]) -> None:
    add_product("TEA-1")
    assert len(api.get("/products").json()) == 1
    add_product("TEA-2")
    assert len(api.get("/products").json()) == 2
