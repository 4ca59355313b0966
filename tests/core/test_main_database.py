"""The database that is meant where a document has room for one."""

from __future__ import annotations

import pytest

from testgrove.core.engines.registry import main_database

REDIS = {"engine": "redis", "name": "0"}
SQLITE = {"engine": "sqlite", "name": "/w/db.sqlite3"}


@pytest.mark.parametrize(
    ("databases", "expected"),
    [
        ({}, ""),
        ({"redis": REDIS}, "0"),
        ({"redis": REDIS, "sqlite": SQLITE}, "/w/db.sqlite3"),
        ({"sqlite": SQLITE, "more": {"engine": "postgres", "name": "b"}, "redis": REDIS}, "b"),
        ({"more": {"engine": "postgres", "name": "a"}, "postgres": {"engine": "postgres", "name": "b"}}, "b"),
        ({"postgres": {"name": "of an older version"}}, "of an older version"),
    ],
)
def test_it_is_one_on_a_server_else_a_file_else_an_instances(databases, expected):
    assert main_database(databases) == expected
