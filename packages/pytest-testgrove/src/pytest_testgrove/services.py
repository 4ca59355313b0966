"""The fixture `testgrove_service`: a database of any service by its name, for one test or one process.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import re
from typing import Any, Callable, Iterator

import pytest

from pytest_testgrove.databases import LeaseClient, explained
from pytest_testgrove.fixtures import url_of_worktree


class Service:
    """A database of a service, for one test. url: for drivers; name, host, port, user, password: its parts; socket: of
    a server that the test has alone. Parts that are not known are empty."""

    def __init__(self, values: "dict[str, Any]") -> None:
        self.url: str = values["url"]
        self.name: str = values.get("name", "")
        self.host: str = values.get("host", "")
        self.port: int = values.get("port", 0)
        self.user: str = values.get("user", "")
        self.password: str = values.get("password", "")
        self.socket: str = values.get("socket", "")

    def __repr__(self) -> str:
        return f"Service({self.name!r} at {self.host}:{self.port})"


@pytest.fixture
def testgrove_service(
    request: pytest.FixtureRequest, _testgrove_lease_client: LeaseClient
) -> "Iterator[Callable[..., Service]]":
    """Return a function that gives this test a database of a service: ``testgrove_service("analytics").url``."""
    found: "dict[str, Service]" = {}
    yield _giver("testgrove_service", request.config, _testgrove_lease_client, found)
    for name, service in reversed(list(found.items())):
        if service.name:
            with explained(f"testgrove_service({name!r})"):
                _testgrove_lease_client.give_back_from(request, service.name)


@pytest.fixture(scope="session")
def testgrove_worker_service(
    pytestconfig: pytest.Config, _testgrove_lease_client: LeaseClient
) -> "Iterator[Callable[..., Service]]":
    """The same for this process, or xdist worker, and the whole session."""
    found: "dict[str, Service]" = {}
    yield _giver("testgrove_worker_service", pytestconfig, _testgrove_lease_client, found)
    for service in found.values():
        if service.name:
            _testgrove_lease_client.give_back(service.name)


def _giver(
    fixture: str, config: pytest.Config, client: LeaseClient, found: "dict[str, Service]"
) -> "Callable[..., Service]":
    def get(name: str, **wanted: str) -> Service:
        if name not in found:
            with explained(f"{fixture}({name!r})"):
                found[name] = _of_service(config, client, name, wanted)
        return found[name]

    return get


def _of_service(config: pytest.Config, client: LeaseClient, name: str, wanted: "dict[str, str]") -> Service:
    if client.lends(name):
        return Service(client.lease(service=name, **wanted))
    # On an external server without databases for single tests, all tests of a suite share the worktree's.
    variable = f"{re.sub('[^A-Za-z0-9]', '_', name).upper()}_URL"
    return Service({"url": url_of_worktree(config, f"testgrove_service({name!r})", variable, name)})
