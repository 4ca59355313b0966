"""testgrove's pytest plugin: the tests' outcomes, the check that they exercised this tree, and fixtures.

PYTEST_DONT_REWRITE (nothing here asserts, and a module that is loaded twice must not warn)
"""

from __future__ import annotations

import os

import pytest

from pytest_testgrove.databases import Database, _testgrove_lessor, database, declare, register
from pytest_testgrove.fixtures import Worktree, database_url, ports, redis_url, worktree

__all__ = ["Database", "Worktree", "_testgrove_lessor", "database", "database_url", "ports", "redis_url", "worktree"]

SESSION_VARIABLE = "TESTGROVE_SESSION"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare our setting."""
    declare(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Register our marker."""
    register(config)


@pytest.hookimpl(tryfirst=True)  # before xdist starts its workers
def pytest_sessionstart(session: pytest.Session) -> None:
    """Report on this session when it is the first of its attempt, or a worker of the one that is."""
    told = getattr(session.config, "workerinput", {}).get("testgrove")
    if told is None and SESSION_VARIABLE not in os.environ:
        return
    from pytest_testgrove.recorder import start  # noqa: PLC0415 - not needed outside testgrove

    start(session, told)
