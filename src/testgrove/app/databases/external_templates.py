"""testgrove's templates on an external PostgreSQL server, for a clean-up."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from testgrove.app.project import Project
from testgrove.core.server_url import parse_server_url
from testgrove.services.engines.postgres.external import GivenPostgres


@contextmanager
def server_with_templates(project: Project) -> Iterator[GivenPostgres | None]:
    """Return the server whose URL the settings configure; None if it has no templates of testgrove.

    Raises UnavailableError, PreconditionError if it cannot be used.
    """
    service = project.settings.services.postgres
    if service is None or service.host == "embedded" or service.isolation == "none":
        yield None
        return
    server = GivenPostgres(parse_server_url("postgres", service.host))
    server.open()
    try:
        yield server
    finally:
        server.close()


def stale_templates(server: GivenPostgres, max_age_hours: float) -> list[str]:
    """The names of the templates that were not asked for within so many hours."""
    return [name for name, age in server.templates() if age >= max_age_hours]
