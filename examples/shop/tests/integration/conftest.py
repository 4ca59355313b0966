"""The API and the worker of this worktree, for the whole session.

testgrove starts both before the suite, and says so in SHOP_PROCESSES. By hand, what answers on the API's port is used,
and what does not is started here.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import httpx
import pytest
from redis import Redis
from sqlalchemy import Engine

READY_WITHIN = 30.0  # seconds
API = ("uvicorn", "--factory", "shop.api:create_app", "--host", "127.0.0.1", "--port")
WORKER = ("shop.worker",)


@pytest.fixture(autouse=True)
def watch_the_marks(database: Engine, redis: Redis) -> None:
    """Every test looks at the marks, whatever else it needs."""


@pytest.fixture(scope="session")
def answered() -> list[int]:
    """The status of each answer that this session got, in the order they came."""
    return []


@pytest.fixture(scope="session")
def client(answered: list[int]) -> Iterator[httpx.Client]:
    hooks = {"response": [lambda response: answered.append(response.status_code)]}
    with httpx.Client(
        base_url=f"http://127.0.0.1:{os.environ['API_PORT']}", timeout=30, event_hooks=hooks
    ) as client:
        yield client


@pytest.fixture(scope="session")
def processes(client: httpx.Client) -> Iterator[None]:
    """The API and the worker run. It takes nobody else's server for this worktree's."""
    with ExitStack() as started:
        if not _answers(client):
            if os.environ.get("SHOP_PROCESSES") == "running":
                pytest.fail(f"testgrove has started an API, yet nothing answers at {client.base_url}")
            started.enter_context(_running(*API, os.environ["API_PORT"]))
            started.enter_context(_running(*WORKER))
            _wait_until(lambda: _answers(client))
        identity = client.get("/identity").json()
        if identity["worktree"] != os.environ["WORKTREE_ID"]:
            pytest.fail(f"the server at {client.base_url} is another worktree's: {identity}")
        yield


@pytest.fixture(scope="session")
def requests_before(processes: None, client: httpx.Client, answered: list[int]) -> Iterator[int]:
    """How many requests the server got before this session, from whoever looked whether it was ready."""
    before = client.get("/identity").json()["requests"] - len(answered)
    yield before
    requests = client.get("/identity").json()["requests"]
    assert requests == before + len(answered), "another session calls this server"


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/health").status_code == 200
    except httpx.ConnectError:
        return False


@contextmanager
def _running(*module: str) -> Iterator[None]:
    with subprocess.Popen([sys.executable, "-m", *module]) as process:
        try:
            yield
        finally:
            process.terminate()


def _wait_until(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + READY_WITHIN
    while not reached():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {READY_WITHIN:g} s; what was started wrote above what is wrong")
        time.sleep(0.02)


@pytest.fixture
def api(requests_before: int, client: httpx.Client, database: Engine, redis: Redis) -> httpx.Client:
    """A client of the running server, over an empty shop."""
    return client


@pytest.fixture
def becomes(api: httpx.Client) -> Callable[[int, str], None]:
    """Waits until the worker, or somebody, has given an order a status."""

    def wait(order_id: int, status: str) -> None:
        _wait_until(lambda: api.get(f"/orders/{order_id}").json()["status"] == status)

    return wait


@pytest.fixture
def add_customer(api: httpx.Client) -> Callable[..., int]:
    """Registers a customer and returns the id."""

    def add(email: str = "ada@example.com", name: str = "Ada") -> int:
        response = api.post("/customers", json={"email": email, "name": name})
        assert response.status_code == 201, response.text
        return int(response.json()["id"])

    return add


@pytest.fixture
def add_product(api: httpx.Client) -> Callable[..., str]:
    """Puts a product on sale and returns its SKU."""

    def add(sku: str = "TEA-1", *, price_cents: int = 250, quantity: int = 10) -> str:
        body = {"sku": sku, "name": sku.title(), "price_cents": price_cents, "quantity": quantity}
        response = api.post("/products", json=body)
        assert response.status_code == 201, response.text
        return sku

    return add


@pytest.fixture
def order(api: httpx.Client) -> Callable[..., httpx.Response]:
    """Fills a customer's cart and orders it."""

    def place(customer: int, quantities: dict[str, int], **body: object) -> httpx.Response:
        for sku, quantity in quantities.items():
            assert api.put(f"/carts/{customer}/{sku}", json={"quantity": quantity}).status_code == 204
        return api.post("/orders", json={"customer_id": customer, **body})

    return place
