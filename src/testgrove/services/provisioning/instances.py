"""A server instance for each worktree and each client of a broker, for engines whose databases share too much.

A client's instance is reset between tests and keeps its address. If the engine cannot undo what a test did, it says so
and the instance is restarted.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from testgrove.core.engines.registry import engine_of
from testgrove.errors import ExhaustedError
from testgrove.services.base import generate_password
from testgrove.services.base_allocation import BaseAllocation
from testgrove.services.provider import Provider, ProvisionedDatabase
from testgrove.system.files import explained

if TYPE_CHECKING:
    from pathlib import Path

    from testgrove.core.model import DatabaseAccess
    from testgrove.core.secret import Secret
    from testgrove.core.settings.types import Service
    from testgrove.services.broker import Allocation
    from testgrove.services.engines.protocols import Instance, InstanceResetter, InstanceServer
    from testgrove.services.provider import Allocator, Context, DatabaseRequest, TemplateSpec

_MAX_KEPT = 20  # instances that one client may keep


class InstanceProvider(Provider):
    """The provider of an engine with one instance for each worktree. name: the service's."""

    def __init__(self, engine: InstanceServer, context: Context, name: str, service: Service) -> None:
        self.engine, self.context, self._name, self._service = engine, context, name, service
        self._binary: Any = None
        self._guard = threading.Lock()

    def find(self) -> None:
        """Implement Provider. Raises PreconditionError if no binary is found."""
        with self._guard:
            if self._binary is None:
                self._binary = self.engine.find(self.context.launcher, self._service)

    def make(self, request: DatabaseRequest) -> ProvisionedDatabase:
        """Implement Provider."""
        self.find()
        directory = self.context.folder / f"{self._name}-{request.label}"[:60]
        start = partial(self.start_in, directory, generate_password())
        return _InstanceDatabase(self.context.ports.start(self._name, start), request)

    def start(self, password: Secret) -> tuple[Instance, int]:
        """Start an empty instance; return it with its leased port."""

        def start(port: int) -> tuple[Instance, int]:
            return self.start_at(password, port), port

        found: tuple[Instance, int] = self.context.ports.start(self._name, start)
        return found

    def start_at(self, password: Secret, port: int) -> Instance:
        """Start an empty instance on a port, in an emptied folder. Raises PreconditionError (``port-taken``)."""
        directory = self.context.folder / f"{self._name}-{port}"
        shutil.rmtree(directory, ignore_errors=True)
        return self.start_in(directory, password, port)

    def start_in(self, directory: Path, password: Secret, port: int) -> Instance:
        """Start an instance in a folder."""
        with explained("create the folder", directory):
            directory.mkdir(mode=0o700, exist_ok=True)
        return self.engine.start(
            self._binary,
            launcher=self.context.launcher,
            directory=directory,
            port=port,
            password=password,
            settings=self._service.settings,
        )

    def allocator(self, template_spec: Callable[[], TemplateSpec], owner: str) -> Allocator:  # noqa: ARG002 - they are empty, and have no marks
        """Implement Provider."""
        return _InstanceAllocator(self)


class _InstanceDatabase(ProvisionedDatabase):
    """An instance as a database: dropping it stops it."""

    def __init__(self, instance: Instance, request: DatabaseRequest) -> None:
        name = engine_of(instance.endpoint.engine).default_database
        super().__init__(instance.create_database(name, owner=request.owner))
        self._instance = instance

    def drop(self) -> str:
        """Implement ProvisionedDatabase."""
        self._instance.stop()
        return ""

    def stop(self) -> None:
        """Implement ProvisionedDatabase."""
        self._instance.stop()


class _InstanceAllocator:
    """Starts an instance for each request. Folders and ports are reused."""

    def __init__(self, provider: InstanceProvider) -> None:
        self._provider = provider
        self._all: list[Instance] = []
        self._guard = threading.Lock()

    def open(self) -> Allocation:
        """Implement Allocator. Raises PreconditionError if no binary is found."""
        self._provider.find()
        return InstanceAllocation(
            partial(_LeasedLocation, self._provider, self._remember), self._provider.engine.resetter
        )

    def _remember(self, instance: Instance) -> Instance:
        with self._guard:
            self._all.append(instance)
        return instance

    def close(self) -> None:
        """Implement Allocator. Kept instances are stopped, too."""
        for instance in self._all:
            instance.stop()


class InstanceLocation(Protocol):
    """The port, folder and password of one instance, which do not change."""

    def start(self) -> Instance:
        """Start the instance. Raises TestgroveError."""

    def free(self) -> None:
        """Release it."""


class _LeasedLocation:
    """A location with a leased port."""

    def __init__(self, provider: InstanceProvider, remember: Callable[[Instance], Instance]) -> None:
        self._provider, self._remember, self._password = provider, remember, generate_password()
        self._port = 0

    def start(self) -> Instance:
        """Implement InstanceLocation. The first call chooses the port; the client knows the address from then on."""
        if self._port:
            return self._remember(self._provider.start_at(self._password, self._port))
        instance, self._port = self._provider.start(self._password)
        return self._remember(instance)

    def free(self) -> None:
        """Implement InstanceLocation."""
        if self._port:
            self._provider.context.ports.give_back(self._port)


class ClientInstance:
    """One client's own instance. Raises TestgroveError if it cannot be started."""

    def __init__(self, location: InstanceLocation, resetter: Callable[[Instance], InstanceResetter]) -> None:
        self._location, self._open = location, resetter
        try:
            self._start()
        except BaseException:
            location.free()
            raise

    def _start(self) -> None:
        self._instance = self._location.start()
        try:
            at = self._instance.endpoint
            self.access = self._instance.create_database(f"{at.engine}_{at.port}", owner="a test session")
            self._resetter = self._open(self._instance)
        except BaseException:
            self._instance.stop()
            raise

    def empty(self) -> None:
        """Reset it. Raises UnavailableError if it cannot be restarted."""
        if not self._resetter.reset():
            self._stop()
            self._start()

    def leave(self) -> None:
        """Leave it running; it is not used again."""
        self._resetter.close()

    def end(self) -> None:
        """Stop it and discard its content."""
        self._stop()
        self._location.free()

    def _stop(self) -> None:
        self._resetter.close()
        self._instance.stop()


class InstanceAllocation(BaseAllocation[ClientInstance]):
    """One client's instances (broker.Allocation). find: returns a new location. resetter: of an instance."""

    def __init__(self, find: Callable[[], InstanceLocation], resetter: Callable[[Instance], InstanceResetter]) -> None:
        super().__init__()
        self._find, self._resetter = find, resetter
        self._kept: list[ClientInstance] = []

    def make(self) -> tuple[DatabaseAccess, ClientInstance]:
        """Start an empty instance. Raises TestgroveError."""
        made = ClientInstance(self._find(), self._resetter)
        return made.access, made

    def discard(self, thing: ClientInstance) -> None:
        """Stop it."""
        thing.end()

    def empty(self, name: str) -> None:
        """Reset an instance; its address stays. Raises PreconditionError (``not-leased``), UnavailableError."""
        self.of(name).empty()

    def keep(self, name: str) -> None:
        """Implement Allocation. Raises PreconditionError, ExhaustedError."""
        found = self.of(name)
        if len(self._kept) >= _MAX_KEPT:
            raise ExhaustedError("too-many-kept", f"{_MAX_KEPT} instances of this session are already kept")
        found.leave()
        self._kept.append(self.take(name))
