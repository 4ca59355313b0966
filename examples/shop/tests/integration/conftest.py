"""A real server on this worktree's API port, for the whole session."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from redis import Redis
from sqlalchemy import Engine

READY_WITHIN = 30.0  # seconds


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
def server(
    client: httpx.Client, answered: list[int], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[subprocess.Popen[bytes]]:
    """The server's process, ready to answer the client."""
    command = [sys.executable, "-m", "uvicorn", "--factory", "shop.api:create_app"]
    command += ["--host", "127.0.0.1", "--port", os.environ["API_PORT"]]
    log = tmp_path_factory.mktemp("server") / "log"
    with _running(command, log) as process:
        _wait_until_ready(process, client, log)
        yield process
        requests = client.get("/identity").json()["requests"]
        assert requests == len(answered), "another session calls this server"


@contextmanager
def _running(command: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with (
        log.open("wb") as output,
        subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT) as process,
    ):
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()


def _wait_until_ready(process: subprocess.Popen[bytes], client: httpx.Client, log: Path) -> None:
    """Return when this process answers, and not somebody else's server that has the port."""
    deadline = time.monotonic() + READY_WITHIN
    while time.monotonic() < deadline:
        try:
            identity = client.get("/identity").json()
        except httpx.ConnectError:
            if process.poll() is not None:
                pytest.fail(f"the server ended:\n{log.read_text()}")
            time.sleep(0.02)
            continue
        if identity["pid"] != process.pid:
            pytest.fail(f"the port belongs to another server: {identity}\n{log.read_text()}")
        return
    pytest.fail(f"the server did not answer within {READY_WITHIN:g} s:\n{log.read_text()}")


@pytest.fixture
def api(
    server: subprocess.Popen[bytes], client: httpx.Client, database: Engine, redis: Redis
) -> httpx.Client:
    """A client of the running server, over an empty shop."""
    return client


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
