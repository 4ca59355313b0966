"""The engines that fixtures of ours are about, and the two names that each fixture has.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from typing import Any, Callable, Tuple

import pytest

POSTGRES, REDIS, SQLITE = "postgres", "redis", "sqlite"
PREFIX = "testgrove_"


def both_names(function: Callable[..., Any], name: str, scope: Any = "function") -> Tuple[Any, Any]:
    """A fixture by its short name and by a prefixed one, because another plugin may define the short one."""
    return (
        pytest.fixture(scope=scope, name=name)(function),
        pytest.fixture(scope=scope, name=PREFIX + name)(function),
    )
