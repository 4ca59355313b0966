"""Databases that a session's broker hands out, of each service that the project declares, wherever its server runs."""

from __future__ import annotations

import socket
from functools import partial
from typing import NoReturn

from testgrove.app.context import AppContext
from testgrove.app.providers.migrations import migration_allocators
from testgrove.app.sessions.migration import Migration
from testgrove.core.engines.registry import engine_of
from testgrove.core.settings.types import Service
from testgrove.errors import UsageError
from testgrove.services.provider import Allocator, Provider, TemplateSpec, Traits
from testgrove.services.provisioning.choose import provider_of


class SessionDatabases:
    """The databases for a session's tests. Nothing is started before a test asks; stop() at the end."""

    def __init__(self, context: AppContext, migration: Migration) -> None:
        self._context, self._migration = context, migration
        self._owner = f"session on {socket.gethostname()}"
        self._services = context.project.settings.services
        self._providers = {name: provider_of(context, name, service) for name, service in self._services.items()}

    def allocators(self) -> dict[str, Allocator]:
        """By service."""
        found: dict[str, Allocator] = {}
        for name, provider in self._providers.items():
            template_spec = partial(self._template_spec, name, provider)
            found[name] = provider.allocator(template_spec, self._owner) or _shared(name, self._services[name])
        return found | migration_allocators(
            self._context, self._services, self._migration.tree, self._migration.environ
        )

    def _template_spec(self, name: str, provider: Provider) -> TemplateSpec:
        """The template that the files ask for, as they are now."""
        service, traits = self._services[name], provider.traits()
        assert isinstance(traits, Traits)
        return TemplateSpec(
            self._migration.fingerprint(name, service, traits), partial(self._migration.run, service.migrate, name)
        )

    def stop(self) -> None:
        """Every allocation is closed: stop what was started, let go of what was not ours."""
        for provider in self._providers.values():
            provider.close()


def _shared(name: str, service: Service) -> Allocator:
    """Return what refuses: all clients share the database of the URL."""

    def refuse() -> NoReturn:
        engine = engine_of(service.engine)
        fixture = engine.url_variable.lower() if name == engine.name else f"testgrove_service({name!r})"
        raise UsageError(
            "not-lent",
            f"[services.{name}] configures a server or database that all tests share",
            hint=f"set host = 'embedded', or run `testgrove test` and use the fixture {fixture}",
        )

    return Allocator(refuse)
