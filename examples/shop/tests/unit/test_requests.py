"""Bad requests are refused before anything is connected to: the addresses here lead nowhere."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import make_url

from shop.api import create_app
from shop.settings import Settings

NOWHERE = Settings(
    database_url=make_url("postgresql+psycopg://nobody@127.0.0.1:1/none"),
    redis_url="redis://127.0.0.1:1/0",
    public_url="http://shop.example",
    worktree="test-unit-main",
)
PRODUCT = {"sku": "TEA-1", "name": "Tea", "price_cents": 250, "quantity": 3}


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with TestClient(create_app(NOWHERE)) as client:
        yield client


@pytest.mark.parametrize(
    "email", ["", "nobody", "a@b", "two words@example.com", "a@@example.com", f"{'a' * 250}@b.de"]
)
def test_a_customer_needs_an_email_address(client: httpx.Client, email: str) -> None:
    assert refused_field(client.post("/customers", json={"email": email, "name": "Ada"})) == "email"


@pytest.mark.parametrize("name", ["", "   ", "x" * 201])
def test_a_customer_needs_a_name(client: httpx.Client, name: str) -> None:
    assert refused_field(client.post("/customers", json={"email": "ada@example.com", "name": name})) == "name"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("sku", "tea"),
        ("sku", "T"),
        ("name", ""),
        ("price_cents", -1),
        ("price_cents", 2.5),
        ("quantity", -1),
        ("x", 1),
    ],
)
def test_a_product_with_a_bad_field_is_refused_by_its_name(
    client: httpx.Client, field: str, value: object
) -> None:
    assert refused_field(client.post("/products", json=PRODUCT | {field: value})) == field


@pytest.mark.parametrize("quantity", [-1, 1001, "many", None])
def test_a_cart_takes_0_to_1000_pieces(client: httpx.Client, quantity: object) -> None:
    assert refused_field(client.put("/carts/1/TEA-1", json={"quantity": quantity})) == "quantity"


def test_a_body_that_is_not_json_is_refused(client: httpx.Client) -> None:
    assert client.post("/orders", content=b"{").status_code == 422


def test_the_description_names_every_path(client: httpx.Client) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    assert set(paths) == {
        "/best-sellers", "/carts/{customer_id}", "/carts/{customer_id}/{sku}", "/customers", "/health",
        "/identity", "/orders", "/orders/{order_id}", "/orders/{order_id}/cancel", "/products",
    }  # fmt: skip


def test_the_server_says_which_worktree_it_serves(client: httpx.Client) -> None:
    assert client.get("/identity").json()["worktree"] == "test-unit-main"


def refused_field(response: httpx.Response) -> str:
    """The name of the one field that the request was refused for."""
    assert response.status_code == 422
    (problem,) = response.json()["detail"]
    return str(problem["loc"][-1])
