"""What opens shares for a broker's clients, engine by engine; it costs nothing until the first of them asks."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Protocol

from testgrove.app.databases.engines import RunMeans
from testgrove.core.model import DatabaseAccess
from testgrove.core.secret import Secret
from testgrove.core.settings.types import Service
from testgrove.services.base import generate_password
from testgrove.services.binaries import RedisBinary, find_redis
from testgrove.services.broker import Broker, Share
from testgrove.services.engines.redis.server import RedisServer
from testgrove.services.engines.redis.share import RedisShare
from testgrove.services.engines.sqlite.share import SqliteShare
from testgrove.system.files import explained


class Lender(Protocol):
    """Opens shares of one engine. Safe to use from several threads."""

    def open(self) -> Share:
        """A share for one client. Raises TestgroveError where there can be none."""

    def close(self) -> None:
        """Every share is closed already: let go of what is left. A second call does nothing."""


class LendingBroker:
    """A broker at a socket. lenders: by engine. hint: how to add an engine; ``{}`` is its name.

    means: of the run or session that it serves.
    """

    def __init__(self, path: Path, lenders: Mapping[str, Lender], hint: str, means: RunMeans) -> None:
        self.path = path
        self._lenders, self._means = lenders, means
        engines = {engine: lender.open for engine, lender in lenders.items()}
        self._broker = Broker(path, engines, hint=hint, evidence=self._keep)
        self._closed = False

    def close(self) -> None:
        """Send clients away, take back what they hold. A second call does nothing."""
        if not self._closed:
            self._closed = True
            self._broker.close()
            for lender in self._lenders.values():
                lender.close()

    def _keep(self, access: DatabaseAccess, test: str) -> str:
        from testgrove.app.failures.tests import Evidence  # noqa: PLC0415 - most sessions keep nothing

        return Evidence(self._means.project, self._means.launcher).keep(access, test)


class RedisInstances:
    """Provider of Redis instances: one for each client, started on request; folders and ports are reused."""

    def __init__(self, means: RunMeans, service: Service) -> None:
        self._means, self._service = means, service
        self._binary: RedisBinary | None = None
        self._all: list[RedisServer] = []
        self._guard = threading.Lock()

    def open(self) -> Share:
        """Implement Lender. Raises PreconditionError if no binary is found."""
        with self._guard:
            self._binary = self._binary or find_redis(self._means.launcher, self._service.version)
        return RedisShare(partial(RedisPlace, self))

    def start(self, password: Secret) -> RedisServer:
        """An instance with nothing in it, on a leased port."""
        return self._means.ports.start("redis", partial(self.start_at, password))

    def start_at(self, password: Secret, port: int) -> RedisServer:
        """The same on this port, in a folder that is emptied. Raises PreconditionError (``port-taken``)."""
        assert self._binary is not None
        directory = self._means.folder / f"redis-{port}"
        shutil.rmtree(directory, ignore_errors=True)
        with explained("create the folder", directory):
            directory.mkdir(mode=0o700)
        server = RedisServer.start(
            self._binary,
            launcher=self._means.launcher,
            directory=directory,
            port=port,
            password=password,
            settings=self._service.settings,
        )
        with self._guard:
            self._all.append(server)
        return server

    def give_back(self, port: int) -> None:
        """Nothing runs there any more."""
        self._means.ports.give_back(port)

    def close(self) -> None:
        """Implement Lender. Also stops the instances that were kept."""
        for server in self._all:
            server.stop()


class RedisPlace:
    """Where an instance runs: its folder and port."""

    def __init__(self, instances: RedisInstances) -> None:
        self._instances, self._password = instances, generate_password()
        self._port = 0

    def start(self) -> RedisServer:
        """Implement Place. The port never changes after the first call: the client knows the address."""
        if self._port:
            return self._instances.start_at(self._password, self._port)
        server = self._instances.start(self._password)
        self._port = server.endpoint.port
        return server

    def free(self) -> None:
        """Implement Place."""
        if self._port:
            self._instances.give_back(self._port)


class SqliteCopies:
    """Provider of SQLite files. copy: writes a migrated file to a path. folder: of the copies."""

    def __init__(self, copy: Callable[[Path], DatabaseAccess], folder: Path) -> None:
        self._copy, self._folder = copy, folder

    def open(self) -> Share:
        """Implement Lender."""
        return SqliteShare(self._copy, self._folder)

    def close(self) -> None:
        """Implement Lender."""
        shutil.rmtree(self._folder, ignore_errors=True)
