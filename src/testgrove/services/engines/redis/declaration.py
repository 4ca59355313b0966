"""Redis and Valkey, as the rest of testgrove knows them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from testgrove.core.engines.declaration import Clients, Engine, Fixture, Hints

if TYPE_CHECKING:
    from testgrove.core.model import DatabaseAccess


def _url(access: DatabaseAccess, redacted: bool) -> str:
    # With the user's name: redis-cli does not understand a password alone.
    secret = access.password.reveal()
    auth = "" if redacted or not secret else f"{access.user}:{secret}@"
    return f"redis://{auth}{access.host}:{access.port}/0"


def _variables(access: DatabaseAccess) -> dict[str, str]:
    values = {"REDIS_URL": access.url(), "REDIS_HOST": access.host, "REDIS_PORT": str(access.port)}
    values["REDIS_DB"] = access.name if access.name.isdigit() else "0"  # a run's own instance has a name
    if access.password.reveal():  # an external server may require none
        values["REDIS_PASSWORD"] = access.password.reveal()
    return values


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
    variable_names=("REDIS_URL", "REDIS_HOST", "REDIS_PORT", "REDIS_DB", "REDIS_PASSWORD"),
    default_database="0",
    socket="redis.sock",
    without=frozenset(("path", "roles", "superuser")),
    fixtures=(
        Fixture("redis_url", doc="The URL of a Redis of this process's, or xdist worker's, own."),
        Fixture("redis_socket", value="{socket}", doc="The Unix socket of the same Redis."),
    ),
    hints=Hints(
        frozenset(("redis", "valkey", "rq", "arq", "aioredis", "django-redis", "pytest-redis", "huey", "scrapy-redis")),
        "redis|valkey/",
        prefixes=("REDIS", "VALKEY"),
        urls=("CELERY_BROKER_URL", "BROKER_URL", "CELERY_RESULT_BACKEND", "RESULT_BACKEND", "CACHE_URL"),
        facts={"host": "${REDIS_HOST}", "port": "${REDIS_PORT}", "user": "default", "password": "${REDIS_PASSWORD}"},
        numbered=True,
        open_settings='{ requirepass = "" }',
        refusal="Authentication required",
    ),
    describe=_url,
    clients=Clients(
        ("redis-cli", "valkey-cli"),
        ("REDIS_HOST", "REDIS_PORT", "REDIS_DB", "REDIS_PASSWORD"),
        options=(("-h", "REDIS_HOST"), ("-p", "REDIS_PORT"), ("-n", "REDIS_DB")),
        secrets=(("REDISCLI_AUTH", "REDIS_PASSWORD"),),
        elsewhere=("-h", "-p", "-u", "-s"),
    ),
)
