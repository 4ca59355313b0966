"""The databases of a run: one of its own for each cell, of each service that its suite asks for.

Cells can belong to several sub-projects, each with settings and so with providers of its own.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from testgrove.app.context import AppContext, run_context
from testgrove.app.databases.creation import DatabaseCreation, Make
from testgrove.app.holder import Holder
from testgrove.app.project import Project
from testgrove.app.worktrees.workspace import Workspace
from testgrove.core.engines.fixtures import described_fixtures
from testgrove.core.engines.registry import default_services
from testgrove.core.model import DatabaseAccess
from testgrove.core.runs.plan import Cell
from testgrove.core.settings.types import Service, at_versions
from testgrove.errors import TestgroveError
from testgrove.system.store import StoredLeases

if TYPE_CHECKING:
    from testgrove.app.providers.broker import ServiceBroker
    from testgrove.services.provider import Allocator, Provider, ProvisionedDatabase, TemplateSpec

_Key = tuple[str, str, str]  # sub-project, service and, where there are several, its version
_HINT = 'services = ["{}"] in the suite\'s table'  # for a test that asks for another service


class RunDatabases:
    """Creates and removes the databases of cells. Safe to use from all slots."""

    def __init__(
        self, project: Project, holder: Holder, leases: StoredLeases, folder: Path, cancel: threading.Event
    ) -> None:
        self._project, self._cancel = project, cancel
        self._context_in = partial(run_context, holder=holder, leases=leases, folder=folder, cancel=cancel)
        self._contexts: dict[str, AppContext] = {}  # by sub-project
        self._providers: dict[_Key, Provider] = {}
        self._lacking: dict[_Key, TestgroveError] = {}
        self._guard = threading.Lock()
        self._held: dict[str, dict[str, ProvisionedDatabase]] = {}  # of each cell, by service
        self._template_specs: dict[tuple[str, str], TemplateSpec] = {}  # by cell and service
        self._number = 0
        self._brokers: dict[str, ServiceBroker | None] = {}
        self._workspaces: dict[str, Workspace] = {}

    def find(self, cells: Sequence[Cell]) -> None:
        """Check that the databases of all cells are available, before anything is created.

        Raises TestgroveError; where a service has several versions, one that cannot be had fails its cells alone.
        """
        for cell in cells:
            if cell.subproject not in self._contexts:
                project = self._project if cell.scenario else self._project.at(cell.subproject)
                self._contexts[cell.subproject] = self._context_in(project)
            for name in cell.settings.services:
                if _key(name, cell) not in {**self._providers, **self._lacking}:
                    self._find(name, cell)
        found = {key[:2] for key in self._providers}
        for key, error in self._lacking.items():
            if key[:2] not in found:
                raise error

    def _find(self, name: str, cell: Cell) -> None:
        from testgrove.services.provisioning.choose import provider_of  # noqa: PLC0415 - many runs have no services

        found = provider_of(self._context(cell), name, self._service(name, cell))
        try:
            found.find()
            self._providers[_key(name, cell)] = found
        except TestgroveError as error:
            if name not in cell.versions:
                raise
            self._lacking[_key(name, cell)] = error

    def _service(self, name: str, cell: Cell) -> Service:
        return at_versions(self._context(cell).project.settings.services, cell.versions)[name]

    def _context(self, cell: Cell) -> AppContext:
        return self._contexts[cell.subproject]

    @property
    def notes(self) -> tuple[str, ...]:
        """Return the limits of the servers, for the run's header."""
        return tuple(dict.fromkeys(provider.note for provider in self._providers.values() if provider.note))

    def start_ahead(self) -> None:
        """Start slow work in advance."""
        for provider in self._providers.values():
            provider.start_ahead()

    def for_cell(self, cell: Cell) -> DatabaseCreation | None:
        """Return the creation of a cell's databases; None if its suite uses none."""
        services = cell.settings.services
        return DatabaseCreation(services, partial(self._begin, cell), self._cancel) if services else None

    def environ(self, cell: Cell) -> dict[str, str]:
        """Return the variables by which a cell's tests ask for fresh databases: where, and by which fixtures.

        The broker costs nothing but a socket until the first of them asks.
        """
        if cell.key not in self._brokers:
            self._brokers[cell.key] = self._broker(cell)
        broker = self._brokers[cell.key]
        found = {"TESTGROVE_BROKER": str(broker.path)} if broker else {}
        services = self._context(cell).project.settings.services
        fixtures = described_fixtures(service.engine for service in services.values())
        given = {engine for engine, name in default_services(services).items() if name in cell.settings.services}
        for engine in fixtures.keys() - given:
            fixtures[engine]["lacking"] = True  # its variable, if set, is the user's
        return found | ({"TESTGROVE_FIXTURES": json.dumps(fixtures)} if fixtures else {})

    def _broker(self, cell: Cell) -> ServiceBroker | None:
        owner = f"{self._context(cell).leases.owner} {cell.id}"
        found: dict[str, Allocator] = {}
        for name in cell.settings.services:
            template_spec = partial(self._template_specs.__getitem__, (cell.key, name))
            if allocator := self._of(name, cell).allocator(template_spec, owner):
                found[name] = allocator
        found |= self._of_migrations(cell)
        if not found:
            return None
        from testgrove.app.providers.broker import ServiceBroker  # noqa: PLC0415 - for services only

        with self._guard:
            self._number += 1
            path = self._context(cell).folder / f"broker-{self._number}.sock"
        return ServiceBroker(path, found, _HINT, self._context(cell))

    def _of_migrations(self, cell: Cell) -> dict[str, Allocator]:
        workspace = self._workspaces.get(cell.key)
        asked = {name: self._service(name, cell) for name in cell.settings.services}
        services = {name: service for name, service in asked.items() if service.migrate and not service.is_shared}
        if workspace is None or not services:
            return {}
        from testgrove.app.providers.migrations import migration_allocators  # noqa: PLC0415 - only where one can be asked for

        return migration_allocators(self._context(cell), services, workspace.tree, workspace.environ_of)

    def further(self, cell: Cell) -> list[str]:
        """The databases that a cell's tests have made by themselves on servers of the run's own, as they are there
        now. Raises UnavailableError."""
        return [name for held in self._held.get(cell.key, {}).values() for name in held.further()]

    def release(self, cell: Cell) -> None:
        """Take a cell's databases away."""
        if broker := self._brokers.pop(cell.key, None):  # each further attempt gets its own
            broker.close()
        for held in self._held.pop(cell.key, {}).values():
            note = held.drop()
            if note and (workspace := self._workspaces.get(cell.key)):
                workspace.notes.append(note)

    def close(self) -> None:
        """Stop every server of the run, and let go of those of others."""
        with ExitStack() as closing:  # from the last to the first; each is closed, whatever the others raise
            for provider in self._providers.values():
                closing.callback(provider.close)
            for of_cell in self._held.values():
                for held in of_cell.values():
                    closing.callback(held.stop)
            for broker in self._brokers.values():
                if broker:
                    closing.callback(broker.close)

    def _begin(self, cell: Cell, workspace: Workspace, making: DatabaseCreation) -> dict[str, Make]:
        self._workspaces[cell.key] = workspace
        makers: dict[str, Make] = {}
        for name in cell.settings.services:
            from testgrove.app.databases.maker import maker  # noqa: PLC0415 - for services only

            service, provider = self._service(name, cell), self._of(name, cell)
            make, template_spec = maker(self._context(cell), provider, name, service, workspace, making)
            if template_spec is not None:
                self._template_specs[cell.key, name] = template_spec
            makers[name] = partial(self._make, cell, name, make)
        return makers

    def _of(self, name: str, cell: Cell) -> Provider:
        if error := self._lacking.get(_key(name, cell)):
            raise error
        return self._providers[_key(name, cell)]

    def _make(self, cell: Cell, name: str, make: Callable[[], ProvisionedDatabase]) -> DatabaseAccess:
        held = make()
        with self._guard:
            self._held.setdefault(cell.key, {})[name] = held
        return held.access


def _key(name: str, cell: Cell) -> _Key:
    return cell.subproject, name, cell.versions.get(name, "")
