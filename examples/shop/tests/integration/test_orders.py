"""Orders: prices, discounts, stock, and what happens when everybody wants the last piece."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from unittest.mock import ANY

import httpx
import pytest
from sqlalchemy import Engine, text

AddCustomer = Callable[..., int]
AddProduct = Callable[..., str]
PlaceOrder = Callable[..., httpx.Response]


@pytest.fixture
def discounts(database: Engine) -> None:
    with database.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO discounts (id, code, percent, valid_until) VALUES"
                " (1, 'SPRING', 15, NULL), (2, 'GONE', 50, '2020-01-31')"
            )
        )


def test_an_order_takes_its_products_from_the_stock(
    api: httpx.Client, add_customer: AddCustomer, add_product: AddProduct, order: PlaceOrder, database: Engine
) -> None:
    customer = add_customer()
    add_product("TEA-1", price_cents=250, quantity=10)
    add_product("CUP-1", price_cents=1999, quantity=1)
    response = order(customer, {"TEA-1": 4, "CUP-1": 1})
    assert response.status_code == 201
    expected = {
        "id": response.json()["id"],
        "status": "placed",
        "total": "29.99",
        "items": {"TEA-1": 4, "CUP-1": 1},
    }
    assert response.json() == expected
    assert stock(database) == {"TEA-1": 6, "CUP-1": 0}
    assert api.get(f"/carts/{customer}").json() == {}


def test_the_order_is_found_where_the_answer_says(
    api: httpx.Client, add_customer: AddCustomer, add_product: AddProduct, order: PlaceOrder
) -> None:
    response = order(add_customer(), {add_product(): 1})
    location = response.headers["Location"]
    assert location == f"http://127.0.0.1:{os.environ['API_PORT']}/orders/{response.json()['id']}"
    assert api.get(location).json() == response.json() | {"status": ANY}  # the worker may have confirmed it


def test_an_order_is_all_or_nothing(
    add_customer: AddCustomer, add_product: AddProduct, order: PlaceOrder, database: Engine
) -> None:
    add_product("TEA-1", quantity=10)
    add_product("CUP-1", quantity=1)
    response = order(add_customer(), {"TEA-1": 1, "CUP-1": 2})
    assert (response.status_code, response.json()["detail"]) == (409, "fewer than 2 pieces of CUP-1 are left")
    assert stock(database) == {"TEA-1": 10, "CUP-1": 1}
    assert count(database, "orders") == 0


@pytest.mark.parametrize(
    ("body", "status", "detail"),
    [
        ({"discount": "NEVER"}, 422, "there is no discount 'NEVER'"),
        ({"discount": "GONE"}, 422, "the discount 'GONE' was valid until 2020-01-31"),
        ({"customer_id": 999}, 404, "there is no customer 999"),
    ],
)
def test_a_bad_order_is_refused_with_a_reason(
    body: dict[str, object],
    status: int,
    detail: str,
    add_customer: AddCustomer,
    add_product: AddProduct,
    order: PlaceOrder,
    discounts: None,
    database: Engine,
) -> None:
    response = order(add_customer(), {add_product(): 1}, **body)
    assert (response.status_code, response.json()["detail"]) == (status, detail)
    assert count(database, "orders") == 0


def test_an_empty_cart_or_an_unknown_product_is_no_order(
    add_customer: AddCustomer, order: PlaceOrder
) -> None:
    customer = add_customer()
    assert order(customer, {}).json()["detail"] == "the cart is empty"
    assert order(customer, {"TEA-9": 1, "CUP-9": 1}).json()["detail"] == "there is no product CUP-9, TEA-9"


def test_a_discount_is_shared_by_all_lines(
    add_customer: AddCustomer, add_product: AddProduct, order: PlaceOrder, discounts: None, database: Engine
) -> None:
    add_product("CUP-1", price_cents=999)
    add_product("TEA-1", price_cents=250)
    response = order(add_customer(), {"CUP-1": 1, "TEA-1": 3}, discount="SPRING")
    assert response.json()["total"] == "14.87"  # 17.49 less 2.62
    with database.connect() as connection:
        assert connection.scalars(
            text("SELECT discount_cents FROM order_items ORDER BY product_id")
        ).all() == [150, 112]


def test_a_cancelled_order_puts_its_products_back_once(
    api: httpx.Client, add_customer: AddCustomer, add_product: AddProduct, order: PlaceOrder, database: Engine
) -> None:
    placed = order(add_customer(), {add_product("TEA-1", quantity=10): 4}).json()["id"]
    answers = [api.post(f"/orders/{placed}/cancel").status_code for _ in range(2)]
    assert answers == [200, 409]
    assert stock(database) == {"TEA-1": 10}


def test_the_last_pieces_are_sold_once_however_many_want_them(
    api: httpx.Client, add_customer: AddCustomer, add_product: AddProduct, database: Engine
) -> None:
    customers = [add_customer(f"customer{number}@example.com") for number in range(12)]
    skus = [add_product("TEA-1", quantity=5), add_product("CUP-1", quantity=12)]
    for number, customer in enumerate(customers):
        for sku in skus if number % 2 else reversed(skus):
            api.put(f"/carts/{customer}/{sku}", json={"quantity": 1})
    with ThreadPoolExecutor(len(customers)) as pool:
        responses = pool.map(lambda customer: api.post("/orders", json={"customer_id": customer}), customers)
        assert Counter(response.status_code for response in responses) == {201: 5, 409: 7}
    assert stock(database) == {"TEA-1": 0, "CUP-1": 7}
    assert count(database, "orders") == 5


def test_best_sellers_leave_out_what_was_cancelled(
    api: httpx.Client, add_customer: AddCustomer, add_product: AddProduct, order: PlaceOrder
) -> None:
    customer = add_customer()
    add_product("TEA-1", price_cents=250)
    add_product("CUP-1", price_cents=1999)
    order(customer, {"TEA-1": 3})
    order(customer, {"CUP-1": 2, "TEA-1": 1})
    cancelled = order(customer, {"CUP-1": 5}).json()["id"]
    api.post(f"/orders/{cancelled}/cancel")
    assert api.get("/best-sellers").json() == [
        {"sku": "TEA-1", "pieces": 4, "revenue": "10.00"},
        {"sku": "CUP-1", "pieces": 2, "revenue": "39.98"},
    ]


def stock(database: Engine) -> dict[str, int]:
    """Pieces by SKU, of all products there are."""
    with database.connect() as connection:
        rows = connection.execute(
            text("SELECT sku, quantity FROM stock JOIN products ON products.id = product_id")
        )
        return {row.sku: row.quantity for row in rows}


def count(database: Engine, table: str) -> int:
    with database.connect() as connection:
        return int(connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one())
