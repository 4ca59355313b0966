"""testgrove's pytest plugin: the tests' outcomes, the check that they exercised this tree, and fixtures.

PYTEST_DONT_REWRITE (nothing here asserts, and a module that is loaded twice must not warn)
"""

from __future__ import annotations

import os
from typing import Any

import pytest

from pytest_testgrove import connections, declared, failures
from pytest_testgrove.databases import (
    Database,
    _testgrove_lease_client,
    database,
    declare,
    register,
    tell_worker,
    testgrove_database,
    testgrove_worker_database,
    worker_database,
)
from pytest_testgrove.declared import _testgrove_declared
from pytest_testgrove.fixtures import (
    ProcessUrls,
    Worktree,
    database_url,
    ports,
    process_urls,
    testgrove_database_url,
    testgrove_ports,
    testgrove_process_urls,
    testgrove_worktree,
    worktree,
)
from pytest_testgrove.migrations import (
    MigrationError,
    Migrations,
    Schema,
    explain_difference,
    migrations,
    testgrove_migrations,
)
from pytest_testgrove.services import Service, testgrove_service, testgrove_worker_service

__all__ = [
    "Database",
    "MigrationError",
    "Migrations",
    "ProcessUrls",
    "Schema",
    "Service",
    "Worktree",
    "_testgrove_declared",
    "_testgrove_lease_client",
    "database",
    "database_url",
    "migrations",
    "ports",
    "process_urls",
    "testgrove_database",
    "testgrove_database_url",
    "testgrove_migrations",
    "testgrove_ports",
    "testgrove_process_urls",
    "testgrove_service",
    "testgrove_worker_database",
    "testgrove_worker_service",
    "testgrove_worktree",
    "worker_database",
    "worktree",
]

SESSION_VARIABLE = "TESTGROVE_SESSION"


_CONNECTIONS = connections.start()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare our settings."""
    declare(parser)
    failures.declare(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Register our marker, and what was asked for."""
    register(config)
    failures.register(config)


@pytest.hookimpl(trylast=True)  # after pytest-env and the like, before conftests are loaded
def pytest_load_initial_conftests() -> None:
    """Notice which variables plugins have set."""
    if _CONNECTIONS is not None:
        _CONNECTIONS.look(connections.plugins_that_set_variables())


def pytest_plugin_registered(plugin: object) -> None:
    """Notice which variables a conftest has set."""
    file = getattr(plugin, "__file__", None)
    if _CONNECTIONS is not None and isinstance(file, str) and file.endswith("conftest.py"):
        _CONNECTIONS.look(file)


@pytest.hookimpl(optionalhook=True)  # xdist's
def pytest_configure_node(node: Any) -> None:
    """Tell xdist's workers which session they belong to."""
    tell_worker(node)


def pytest_assertrepr_compare(op: str, left: object, right: object) -> "list[str] | None":
    """Show in which way two schemas differ."""
    return explain_difference(op, left, right)


def pytest_collection_modifyitems(config: pytest.Config, items: "list[pytest.Item]") -> None:
    """Let tests ask the broker for the fixtures of engines that this session was not told about."""
    if SESSION_VARIABLE not in os.environ:
        declared.ask_for_missing(config, items)


@pytest.hookimpl(tryfirst=True)  # before any fixture of the test
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Take away what tests before have left in what this process holds."""
    declared.empty_before(item)


@pytest.hookimpl(tryfirst=True)  # before xdist starts its workers
def pytest_sessionstart(session: pytest.Session) -> None:
    """Define the fixtures of engines. Report on this session when it is the first of its attempt, or a worker of it."""
    declared.register(session.config)
    told = getattr(session.config, "workerinput", {}).get("testgrove")
    if told is None and SESSION_VARIABLE not in os.environ:
        return
    from pytest_testgrove.recorder import start  # noqa: PLC0415 - not needed outside testgrove

    start(session, told, _CONNECTIONS)
