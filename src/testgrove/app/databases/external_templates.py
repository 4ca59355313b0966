"""Templates that testgrove has left on external servers: found and dropped by a clean-up."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from testgrove.app.project import Project
from testgrove.core.engines.registry import engine_of, implementation_of
from testgrove.core.server_url import parse_server_url
from testgrove.core.settings.types import Service
from testgrove.services.engines.protocols import TemplateServer


def services_with_templates(project: Project) -> dict[str, Service]:
    """The services whose servers, named by URL, can have templates of ours; each server once."""
    found: dict[str, tuple[str, Service]] = {}  # by URL
    for name, service in project.settings.services.items():
        engine = engine_of(service.engine)
        has_templates = engine.migrates and engine.isolation == "database"
        if has_templates and not service.is_embedded and not service.is_shared:
            found.setdefault(service.host, (name, service))
    return dict(found.values())


@contextmanager
def server_with_templates(service: Service) -> Iterator[TemplateServer]:
    """The server of a service. Raises UnavailableError, PreconditionError where it cannot be used."""
    url = parse_server_url(service.engine, service.host)
    server: TemplateServer = implementation_of(service.engine).external(url, service)
    server.open()
    try:
        yield server
    finally:
        server.close()


def stale_templates(server: TemplateServer, max_age_hours: float) -> list[str]:
    """The names of the templates that were not asked for within so many hours."""
    return [name for name, age in server.templates() if age >= max_age_hours]
