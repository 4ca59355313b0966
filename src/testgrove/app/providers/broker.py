"""A broker at a socket, with what gives its clients databases of each service."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from testgrove.app.context import AppContext
from testgrove.core.engines.fixtures import described_fixtures
from testgrove.core.engines.registry import default_services
from testgrove.core.model import DatabaseAccess
from testgrove.services.broker import Broker
from testgrove.services.provider import Allocator


class ServiceBroker:
    """allocators: by service; those for tests of migrations bear its name with ``-migrations``. hint: how to have
    another service, ``{}`` is its name. context: of whoever is behind it."""

    def __init__(self, path: Path, allocators: Mapping[str, Allocator], hint: str, context: AppContext) -> None:
        self.path = path
        self._allocators, self._context = allocators, context
        services = context.project.settings.services
        kinds = {name: service.engine for name, service in services.items()}
        offers = {name: allocator.open for name, allocator in allocators.items()}
        for engine, name in default_services(services).items():  # by which clients ask who know no names
            for end in ("", "-migrations"):
                if name + end in offers:
                    offers.setdefault(engine + end, offers[name + end])
        fixtures = described_fixtures(kinds.values())
        self._broker = Broker(path, offers, kinds=kinds, hint=hint, fixtures=fixtures, evidence=self._keep)
        self._closed = False

    def close(self) -> None:
        """Send clients away, take back what they hold. A second call does nothing."""
        if not self._closed:
            self._closed = True
            self._broker.close()
            for allocator in self._allocators.values():
                allocator.close()

    def _keep(self, access: DatabaseAccess, test: str) -> str:
        from testgrove.app.failures.tests import Evidence  # noqa: PLC0415 - most sessions keep nothing

        return Evidence(self._context.project, self._context.launcher).keep(access, test)
