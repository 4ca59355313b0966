"""A server instance for each worktree and each client of a broker, of engines whose databases share too much.

For a client it is made as new between tests, at the same address. What the engine cannot undo it notices; then the
instance is started again.
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

_MAX_KEPT = 20  # instances that a client asked to keep


class InstanceProvider(Provider):
    """See Provider. name: the service's."""

    def __init__(self, engine: InstanceServer, context: Context, name: str, service: Service) -> None:
        self.engine, self.context, self._name, self._service = engine, context, name, service
        self._binary: Any = None
        self._guard = threading.Lock()

    def find(self) -> None:
        """Implement Provider. Raises PreconditionError where there is no binary."""
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
        """An instance with nothing in it, and its leased port."""

        def start(port: int) -> tuple[Instance, int]:
            return self.start_at(password, port), port

        found: tuple[Instance, int] = self.context.ports.start(self._name, start)
        return found

    def start_at(self, password: Secret, port: int) -> Instance:
        """The same on this port, in a folder that is emptied. Raises PreconditionError (``port-taken``)."""
        directory = self.context.folder / f"{self._name}-{port}"
        shutil.rmtree(directory, ignore_errors=True)
        return self.start_in(directory, password, port)

    def start_in(self, directory: Path, password: Secret, port: int) -> Instance:
        """Start one in a folder."""
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
    """See ProvisionedDatabase. The instance is the database."""

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
    """See Allocator. An instance for each request, started then; folders and ports are used again."""

    def __init__(self, provider: InstanceProvider) -> None:
        self._provider = provider
        self._all: list[Instance] = []
        self._guard = threading.Lock()

    def open(self) -> Allocation:
        """Implement Allocator. Raises PreconditionError where there is no binary."""
        self._provider.find()
        return InstanceAllocation(
            partial(_LeasedLocation, self._provider, self._remember), self._provider.engine.resetter
        )

    def _remember(self, instance: Instance) -> Instance:
        with self._guard:
            self._all.append(instance)
        return instance

    def close(self) -> None:
        """Implement Allocator. Those that were kept end, too."""
        for instance in self._all:
            instance.stop()


class InstanceLocation(Protocol):
    """Where one instance runs: a port, a folder and a password that stay its own."""

    def start(self) -> Instance:
        """Start it. Raises TestgroveError."""

    def free(self) -> None:
        """It is needed no more."""


class _LeasedLocation:
    """See InstanceLocation."""

    def __init__(self, provider: InstanceProvider, remember: Callable[[Instance], Instance]) -> None:
        self._provider, self._remember, self._password = provider, remember, generate_password()
        self._port = 0

    def start(self) -> Instance:
        """Implement InstanceLocation. The port never changes after the first call: the client knows the address."""
        if self._port:
            return self._remember(self._provider.start_at(self._password, self._port))
        instance, self._port = self._provider.start(self._password)
        return self._remember(instance)

    def free(self) -> None:
        """Implement InstanceLocation."""
        if self._port:
            self._provider.context.ports.give_back(self._port)


class ClientInstance:
    """An instance that a client has to itself. Raises TestgroveError where it cannot be started."""

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
        """Make it as new. Raises UnavailableError where it cannot be started again."""
        if not self._resetter.reset():
            self._stop()
            self._start()

    def leave(self) -> None:
        """Leave it running, without any further requests."""
        self._resetter.close()

    def end(self) -> None:
        """Stop it and discard its content."""
        self._stop()
        self._location.free()

    def _stop(self) -> None:
        self._resetter.close()
        self._instance.stop()


class InstanceAllocation(BaseAllocation[ClientInstance]):
    """See broker.Allocation: one client's instances. find: a location for another one. resetter: looks after one."""

    def __init__(self, find: Callable[[], InstanceLocation], resetter: Callable[[Instance], InstanceResetter]) -> None:
        super().__init__()
        self._find, self._resetter = find, resetter
        self._kept: list[ClientInstance] = []

    def make(self) -> tuple[DatabaseAccess, ClientInstance]:
        """An instance with nothing in it. Raises TestgroveError."""
        made = ClientInstance(self._find(), self._resetter)
        return made.access, made

    def discard(self, thing: ClientInstance) -> None:
        """End it."""
        thing.end()

    def empty(self, name: str) -> None:
        """Make an instance as new, at the same address. Raises PreconditionError (``not-leased``), UnavailableError."""
        self.of(name).empty()

    def keep(self, name: str) -> None:
        """Implement Allocation. Raises PreconditionError, ExhaustedError."""
        found = self.of(name)
        if len(self._kept) >= _MAX_KEPT:
            raise ExhaustedError("too-many-kept", f"{_MAX_KEPT} instances of this session are already kept")
        found.leave()
        self._kept.append(self.take(name))
