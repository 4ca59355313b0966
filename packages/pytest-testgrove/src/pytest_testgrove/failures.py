"""`--testgrove-keep-failed`: which tests have failed, for fixtures that keep what those leave.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import os
from typing import Any, Iterator

import pytest

VARIABLE = "TESTGROVE_KEEP_FAILED"
_FAILED = pytest.StashKey[bool]()


def declare(parser: pytest.Parser) -> None:
    """Our option."""
    text = "keep the databases of tests that fail (at most 20, for a week); `testgrove db list` shows them"
    group = parser.getgroup("testgrove")
    group.addoption("--testgrove-keep-failed", action="store_true", help=text)


def register(config: pytest.Config) -> None:
    """Watch tests fail, where that was asked for."""
    if config.getoption("testgrove_keep_failed") or os.environ.get(VARIABLE):
        config.pluginmanager.register(Failures(), "testgrove-failures")


def has_failed(item: pytest.Item) -> bool:
    """Return whether what it leaves is to be kept. In a fixture's teardown."""
    return item.stash.get(_FAILED, False)


class Failures:
    """Marks tests that fail before their teardown."""

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: "pytest.CallInfo[Any]") -> Iterator[None]:
        """Mark the item if its setup or call failed."""
        outcome: Any = yield
        if call.when != "teardown":  # a rerun starts again with its setup
            item.stash[_FAILED] = outcome.get_result().failed
