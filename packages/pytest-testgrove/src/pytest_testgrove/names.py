"""The engines that fixtures of ours are about, and the two names that each fixture has.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from typing import Any, Callable, Dict, Tuple

import pytest

POSTGRES, SQLITE = "postgres", "sqlite"
PREFIX = "testgrove_"
# What these engines declare, as testgrove sends it: plain pytest knows their fixtures before it asks a broker.
KNOWN: Dict[str, Any] = {
    "redis": {
        "title": "Redis", "variable": "REDIS_URL", "isolations": ["reset"], "emptied": True,
        "fixtures": [
            {"name": "redis_url", "doc": "The URL of a Redis of this process's, or xdist worker's, own."},
            {"name": "redis_socket", "value": "{socket}", "doc": "The Unix socket of the same Redis."},
        ],
    },
    "sqlite": {
        "title": "SQLite", "variable": "SQLITE_URL", "isolations": ["clone"], "emptied": False,
        "fixtures": [
            {"name": "sqlite_path", "value": "{name}", "scope": "function", "make": "pathlib:Path",
             "doc": "An SQLite file of this test's own, as the migration left it."},
        ],
    },
}  # fmt: skip


def both_names(function: Callable[..., Any], name: str, scope: Any = "function") -> Tuple[Any, Any]:
    """A fixture by its short name and by a prefixed one, because another plugin may define the short one."""
    return (
        pytest.fixture(scope=scope, name=name)(function),
        pytest.fixture(scope=scope, name=PREFIX + name)(function),
    )
