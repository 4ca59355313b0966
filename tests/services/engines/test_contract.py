"""Our own engines fulfil the contract that every engine must."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import psycopg
import pytest
import redis

from testgrove.testing import EngineContract


@pytest.mark.postgres
@pytest.mark.usefixtures("require_postgres")
class TestPostgres(EngineContract):
    name = "postgres"

    def write(self, access):
        with psycopg.connect(access.url(), autocommit=True) as connection:
            connection.execute("CREATE TABLE left_behind (n int)")

    def is_empty(self, access):
        with psycopg.connect(access.url()) as connection:
            return connection.execute("SELECT to_regclass('left_behind')").fetchone() == (None,)


@pytest.mark.redis
@pytest.mark.usefixtures("require_redis")
class TestRedis(EngineContract):
    name = "redis"

    def write(self, access):
        with redis.Redis.from_url(access.url()) as client:
            client.set("left", "behind")

    def is_empty(self, access):
        with redis.Redis.from_url(access.url()) as client:
            return client.dbsize() == 0


class TestSqlite(EngineContract):
    name = "sqlite"

    def write(self, access):
        with closing(sqlite3.connect(access.name)) as database:
            database.execute("CREATE TABLE left_behind (n INT)")

    def is_empty(self, access):
        with closing(sqlite3.connect(access.name)) as database:
            return database.execute("SELECT 1 FROM sqlite_master").fetchone() is None
