"""The base class of engines whose server is one program, and a running instance of such a server."""

from __future__ import annotations

import shutil
import signal
import socket
from abc import ABC, abstractmethod
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from testgrove.core.engines.registry import engine_of
from testgrove.core.frozen import frozen
from testgrove.core.model import DatabaseAccess
from testgrove.errors import PreconditionError, UnavailableError
from testgrove.services.base import LOOPBACK, Endpoint, Engine
from testgrove.services.hosts.embedded import CURRENT_USER, EmbeddedHost
from testgrove.services.keeper.service import PersistentProgram, PersistentService

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from testgrove.core.secret import Secret
    from testgrove.core.server_url import ServerUrl
    from testgrove.core.settings.types import Service
    from testgrove.services.base import Launcher, Program, RunningProcess
    from testgrove.services.engines.protocols import InstanceResetter


class RunningInstance:
    """A running server that a run owns; it holds one database."""

    def __init__(self, endpoint: Endpoint, process: RunningProcess) -> None:
        self.endpoint = endpoint
        self._process: RunningProcess | None = process
        self._name: str | None = None

    def create_database(self, name: str, *, owner: str) -> DatabaseAccess:
        """Return how the instance's one database is reached. Raises PreconditionError (``database-exists``) the second
        time."""
        if self._name is not None:
            raise PreconditionError(
                "database-exists", f"this instance belongs to {self._name}; {owner} requires its own"
            )
        self._name = name
        at = self.endpoint
        return DatabaseAccess(at.engine, name, at.host, at.port, at.user, at.password, at.socket_dir)

    def stop(self) -> None:
        """Stop the instance and discard its content. A second call does nothing."""
        if self._process is not None:
            self._process.stop(signal=signal.SIGKILL, timeout=5)  # there is nothing to save
            self._process = None


@frozen
class EmptyResetter:
    """See engines.protocols.InstanceResetter: everything that a test can leave is what empty() takes away."""

    engine: InstanceEngine
    access: DatabaseAccess

    def reset(self) -> bool:
        """Implement InstanceResetter."""
        self.engine.empty(self.access)
        return True

    def close(self) -> None:
        """Implement InstanceResetter."""


class InstanceEngine(Engine, ABC):
    """An engine that gives each worktree a server instance of its own; see engines.protocols.Engine.

    A subclass has the four methods that are abstract. name: the engine's. persistent_settings: of an instance that
    outlives a command, where a project does not set them.
    """

    name: str
    persistent_settings: Mapping[str, str] = MappingProxyType({})

    @abstractmethod
    def find(self, launcher: Launcher, service: Service) -> Any:
        """The program, with the attributes `version` and `what` (its name in messages). Raises PreconditionError."""

    @abstractmethod
    def argv(
        self, program: Any, *, directory: Path, port: int, password: Secret, settings: Mapping[str, str]
    ) -> Sequence[str]:
        """The command line of a server that stays in the foreground and listens on 127.0.0.1. The directory is its own;
        what must not be seen in a command line is written there."""

    @abstractmethod
    def empty(self, access: DatabaseAccess) -> None:
        """Delete everything in an instance. Raises UnavailableError."""

    def start(
        self,
        program: Any,
        *,
        launcher: Launcher,
        directory: Path,
        port: int,
        password: Secret,
        settings: Mapping[str, str],
    ) -> RunningInstance:
        """Start an instance in an empty folder. Raises PreconditionError (``port-taken``), UnavailableError."""
        service = self._described(program, directory, port, password, settings)
        host = EmbeddedHost(launcher, ours=(), copies=directory, identity=CURRENT_USER)
        engine = engine_of(self.name)
        folder = str(directory) if engine.socket else ""
        endpoint = Endpoint(self.name, program.version, LOOPBACK, port, engine.user, password, folder)
        return RunningInstance(endpoint, host.start(self.server(service, endpoint, directory), directory=directory))

    def server(self, service: PersistentService, endpoint: Endpoint, directory: Path) -> Program:  # noqa: ARG002 - it need not be asked
        """The program that start() starts. It is ready when it listens."""
        return PersistentProgram(service, directory)

    def resetter(self, instance: RunningInstance) -> InstanceResetter:
        """Return the resetter of an instance that was just started and migrated, between the tests of one client.

        The default one empties it, and the migration runs again; one of the engine's own restores what was migrated.
        """
        at = instance.endpoint
        return EmptyResetter(self, DatabaseAccess(self.name, "", at.host, at.port, at.user, at.password))

    def initialize_instance(
        self, folder: Path, *, binary: Any, port: int, password: Secret, settings: Mapping[str, str]
    ) -> DatabaseAccess:
        """Describe a persistent instance in a service's folder, for the keeper to start. Raises UsageError."""
        settings = {**self.persistent_settings, **settings}
        self._described(binary, folder, port, password, settings).write(folder)
        engine = engine_of(self.name)
        return DatabaseAccess(self.name, engine.default_database, LOOPBACK, port, engine.user, password)

    def move_instance(self, folder: Path, port: int) -> None:
        """The same instance on another port, from its next start on. The port is a word of the command line."""
        service = PersistentService.read(folder)
        argv = tuple(str(port) if word == str(service.port) else word for word in service.argv)
        replace(service, argv=argv, port=port).write(folder)

    def _described(
        self, program: Any, directory: Path, port: int, password: Secret, settings: Mapping[str, str]
    ) -> PersistentService:
        argv = tuple(self.argv(program, directory=directory, port=port, password=password, settings=settings))
        return PersistentService(directory.name, program.what, argv, port, signal.SIGTERM, engine=self.name)

    def check_connection(self, url: ServerUrl) -> tuple[str, Secret]:
        """Connect to an external server; return user and password. Raises UnavailableError (``server-unreachable``).

        By default, something must listen there; the server is not asked anything.
        """
        try:
            socket.create_connection((url.host, url.port), timeout=5).close()
        except OSError as error:
            raise UnavailableError("server-unreachable", f"cannot connect to {url.location}: {error}") from error
        return url.user, url.password


def client(*names: str) -> str:
    """The first of some programs that is on PATH. Raises PreconditionError (``no-client-program``)."""
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        what = " or ".join(names)
        raise PreconditionError("no-client-program", f"{what} not found", hint="install it, or put it on PATH")
    return found
