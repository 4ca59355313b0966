"""Redis's implementation; see engines.protocols. Its parts are imported when they are needed."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from testgrove.services.engines.lazy_method import LazyMethod
from testgrove.services.hosts.embedded import check_socket
from testgrove.services.instances import InstanceEngine, client

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from testgrove.core.model import DatabaseAccess
    from testgrove.core.secret import Secret
    from testgrove.core.settings.types import Service
    from testgrove.services.base import Endpoint, Launcher, Program
    from testgrove.services.engines.redis.binaries import RedisBinary
    from testgrove.services.keeper.service import PersistentService

_HERE = "testgrove.services.engines.redis"


class Redis(InstanceEngine):
    """See instances.InstanceEngine and protocols.External."""

    name = "redis"
    # After a kill -9 at most the last second is lost; after an orderly stop, nothing.
    persistent_settings = MappingProxyType({"appendonly": "yes", "appendfsync": "everysec"})

    resetter = LazyMethod(f"{_HERE}.reset:RedisResetter")
    move_instance = LazyMethod(f"{_HERE}.persistent:move_instance")
    empty = LazyMethod(f"{_HERE}.persistent:empty_instance")
    external = LazyMethod(f"{_HERE}.external:ExternalRedis")
    check_connection = LazyMethod(f"{_HERE}.external:check_connection")
    drop_leased = LazyMethod(f"{_HERE}.external:drop_leased")
    lease_by_mark = LazyMethod(f"{_HERE}.external:lease_of")

    def find(self, launcher: Launcher, service: Service) -> RedisBinary:
        """Implement InstanceEngine."""
        from testgrove.services.engines.redis.binaries import find_redis  # noqa: PLC0415 - only where it is embedded

        return find_redis(launcher, service.version)

    def argv(
        self, program: RedisBinary, *, directory: Path, port: int, password: Secret, settings: Mapping[str, str]
    ) -> tuple[str, ...]:
        """Implement InstanceEngine."""
        from testgrove.services.engines.redis.server import write_configuration  # noqa: PLC0415 - as above

        return (str(program.path), str(write_configuration(directory, port=port, password=password, settings=settings)))

    def server(self, service: PersistentService, endpoint: Endpoint, directory: Path) -> Program:
        """Implement InstanceEngine. It has a socket; a persistent one has none: its file system may not have any."""
        from testgrove.services.engines.redis.server import SOCKET, RedisProgram  # noqa: PLC0415 - as above

        check_socket(directory / SOCKET)
        listening = ("--unixsocket", str(directory / SOCKET), "--unixsocketperm", "700")
        return RedisProgram(replace(service, argv=(*service.argv, *listening)), directory, endpoint)

    def recreated(self, data: Mapping[str, object]) -> str:  # noqa: ARG002 - a number cannot be made again
        """Implement External."""
        return ""

    def shell(self, url: str, service: Service | None) -> tuple[str, ...]:  # noqa: ARG002 - any client speaks to all
        """Implement Engine."""
        return (client("redis-cli", "valkey-cli"), "--no-auth-warning", "-u", url)

    def client_environ(self, access: DatabaseAccess) -> dict[str, str]:
        """Implement Engine."""
        return {"REDISCLI_AUTH": access.password.reveal()}


REDIS = Redis()
