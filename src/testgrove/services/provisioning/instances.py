"""A server instance for each worktree and each client of a broker, of engines whose databases share too much.

For a client it is made as new between tests, at the same address. What the engine cannot undo it notices; then the
instance is started again.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from testgrove.core.engines.registry import engine_of
from testgrove.errors import ExhaustedError
from testgrove.services.allocation import BaseAllocation
from testgrove.services.base import generate_password
from testgrove.services.instances import EmptyResetter
from testgrove.services.provider import Allocator, Provider, ProvisionedDatabase, Traits
from testgrove.system.files import explained

if TYPE_CHECKING:
    from testgrove.core.model import DatabaseAccess
    from testgrove.core.secret import Secret
    from testgrove.core.settings.types import Service
    from testgrove.services.allocation import Allocation
    from testgrove.services.instances import InstanceEngine, RunningInstance
    from testgrove.services.provider import Build, Context, DatabaseRequest, TemplateSpec

_MAX_KEPT = 20  # instances that a client asked to keep


def instance_traits(engine: str, program: Any) -> Traits | None:
    """Return what a migration's result depends on; None for an engine without migrations."""
    return Traits(f"{engine} {program.version}") if engine_of(engine).migrates else None


class InstanceProvider(Provider):
    """The provider of an engine with one instance for each worktree. name: the service's."""

    def __init__(self, engine: InstanceEngine, context: Context, name: str, service: Service) -> None:
        self.engine, self.context, self._name, self._service = engine, context, name, service
        self._binary: Any = None
        self._guard = threading.Lock()

    def find(self) -> None:
        """Implement Provider. Raises PreconditionError if no binary is found."""
        with self._guard:
            if self._binary is None:
                self._binary = self.engine.find(self.context.launcher, self._service)

    def traits(self) -> Traits | None:
        """Implement Provider. There is no template: each instance is migrated."""
        self.find()
        return instance_traits(self._service.engine, self._binary)

    def make(self, request: DatabaseRequest) -> ProvisionedDatabase:
        """Implement Provider."""
        self.find()
        instance = self.start(generate_password())
        try:
            access = instance.create_database(engine_of(self.engine.name).default_database, owner=request.owner)
            if request.template_spec:
                request.template_spec.build(access)
        except BaseException:
            instance.stop()
            raise
        return ProvisionedDatabase(access, instance.stop, instance.stop)

    def start(self, password: Secret) -> RunningInstance:
        """Start an empty instance on a leased port."""
        found: RunningInstance = self.context.ports.start(self._name, partial(self.start_at, password))
        return found

    def start_at(self, password: Secret, port: int) -> RunningInstance:
        """Start an empty instance on a port, in an emptied folder. Raises PreconditionError (``port-taken``)."""
        directory = self.context.folder / f"{self._name[:8]}-{port}"
        shutil.rmtree(directory, ignore_errors=True)
        with explained("create the folder", directory):
            directory.mkdir(mode=0o700)
        return self.engine.start(
            self._binary,
            launcher=self.context.launcher,
            directory=directory,
            port=port,
            password=password,
            settings=self._service.settings,
        )

    def allocator(self, template_spec: Callable[[], TemplateSpec], owner: str) -> Allocator:  # noqa: ARG002 - they have no marks
        """Implement Provider."""
        started: list[RunningInstance] = []

        def build(access: DatabaseAccess) -> None:
            if engine_of(access.engine).migrates:
                template_spec().build(access)

        def opened() -> Allocation:
            self.find()
            return InstanceAllocation(self, started.append, build)

        def close() -> None:  # also those that clients have kept
            for instance in started:
                instance.stop()

        return Allocator(opened, close)


class ClientInstance:
    """An instance that a client has to itself. Raises TestgroveError where it cannot be started.

    Folder, port and password stay its own. remember: told each instance that was started. build: migrates it.
    """

    def __init__(self, provider: InstanceProvider, remember: Callable[[RunningInstance], object], build: Build) -> None:
        self._provider, self._remember, self._build = provider, remember, build
        self._password = generate_password()
        self._port = 0
        try:
            self._start()
        except BaseException:
            self._free_port()
            raise

    def _start(self) -> None:
        """The port never changes after the first call: the client knows the address."""
        if self._port:
            self._instance = self._provider.start_at(self._password, self._port)
        else:
            self._instance = self._provider.start(self._password)
            self._port = self._instance.endpoint.port
        self._remember(self._instance)
        try:
            at = self._instance.endpoint
            self.access = self._instance.create_database(f"{at.engine}_{at.port}", owner="a test session")
            self._build(self.access)
            self._resetter = self._provider.engine.resetter(self._instance)
        except BaseException:
            self._instance.stop()
            raise

    def empty(self) -> None:
        """Make it as new. Raises UnavailableError where it cannot be started again."""
        if not self._resetter.reset():
            self._stop()
            self._start()
        elif isinstance(self._resetter, EmptyResetter):
            self._build(self.access)

    def leave(self) -> None:
        """Leave it running; it is not used again."""
        self._resetter.close()

    def end(self) -> None:
        """Stop it and discard its content."""
        self._stop()
        self._free_port()

    def _stop(self) -> None:
        self._resetter.close()
        self._instance.stop()

    def _free_port(self) -> None:
        if self._port:
            self._provider.context.ports.give_back(self._port)


class InstanceAllocation(BaseAllocation[ClientInstance]):
    """See services.allocation: one client's instances."""

    def __init__(self, provider: InstanceProvider, remember: Callable[[RunningInstance], object], build: Build) -> None:
        super().__init__()
        self._provider, self._remember, self._build = provider, remember, build
        self._kept: list[ClientInstance] = []

    def make(self) -> tuple[DatabaseAccess, ClientInstance]:
        """Start an empty instance. Raises TestgroveError."""
        made = ClientInstance(self._provider, self._remember, self._build)
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
