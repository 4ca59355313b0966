"""Redis's implementation; see engines.protocols. Its parts are imported when they are needed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from testgrove.services.engines.lazy_method import LazyMethod
from testgrove.services.instances import client

if TYPE_CHECKING:
    from collections.abc import Mapping

    from testgrove.core.model import DatabaseAccess
    from testgrove.core.settings.types import Service
    from testgrove.services.base import Launcher
    from testgrove.services.engines.redis.binaries import RedisBinary

_HERE = "testgrove.services.engines.redis"


class Redis:
    """Redis: implements InstanceServer and External of protocols."""

    start = LazyMethod(f"{_HERE}.server:RedisServer.start")
    resetter = LazyMethod(f"{_HERE}.reset:RedisResetter")
    initialize_instance = LazyMethod(f"{_HERE}.persistent:write_instance")
    move_instance = LazyMethod(f"{_HERE}.persistent:move_instance")
    empty = LazyMethod(f"{_HERE}.persistent:empty_instance")
    external = LazyMethod(f"{_HERE}.external:ExternalRedis")
    check_connection = LazyMethod(f"{_HERE}.external:check_connection")
    drop_leased = LazyMethod(f"{_HERE}.external:drop_leased")
    lease_by_mark = LazyMethod(f"{_HERE}.external:lease_of")

    def find(self, launcher: Launcher, service: Service) -> RedisBinary:
        """Implement InstanceServer."""
        from testgrove.services.engines.redis.binaries import find_redis  # noqa: PLC0415 - only where it is embedded

        return find_redis(launcher, service.version)

    def recreated(self, data: Mapping[str, object]) -> str:  # noqa: ARG002 - a number cannot be made again
        """Implement External."""
        return ""

    def shell(self, url: str, service: Service | None) -> tuple[str, ...]:  # noqa: ARG002 - any client speaks to all
        """Implement Engine."""
        return (client("redis-cli", "valkey-cli"), "--no-auth-warning", "-u", url)

    def require(self) -> None:
        """Implement Engine. It needs no driver."""

    def client_environ(self, access: DatabaseAccess) -> dict[str, str]:
        """Implement Engine."""
        return {"REDISCLI_AUTH": access.password.reveal()}

    def client_programs(self, path: str | None) -> tuple[Path, ...]:  # noqa: ARG002 - it brings none
        """Implement Engine."""
        return ()


REDIS = Redis()
