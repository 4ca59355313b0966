"""Redis and Valkey, as the rest of testgrove knows them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from testgrove.core.engines.declaration import Engine, Hints

if TYPE_CHECKING:
    from testgrove.core.model import DatabaseAccess


def _url(access: DatabaseAccess, redacted: bool) -> str:
    # With the user's name: redis-cli does not understand a password alone.
    secret = access.password.reveal()
    auth = "" if redacted or not secret else f"{access.user}:{secret}@"
    return f"redis://{auth}{access.host}:{access.port}/0"


def _variables(access: DatabaseAccess) -> dict[str, str]:
    return {"REDIS_URL": access.url()}


ENGINE = Engine(
    name="redis",
    title="Redis",
    implementation="testgrove.services.engines.redis.engine:REDIS",
    port=6379,
    schemes=("redis", "rediss"),
    isolation="instance",
    test_isolations=("reset",),
    url_variable="REDIS_URL",
    variables=_variables,
    variable_names=("REDIS_URL",),
    default_database="0",
    socket="redis.sock",
    without=frozenset(("path",)),
    hints=Hints(
        frozenset(("redis", "valkey", "rq", "arq", "aioredis", "django-redis", "pytest-redis")), "redis|valkey/"
    ),
    describe=_url,
)
