"""The variables in a worktree's environment file."""

from __future__ import annotations

from collections.abc import Mapping

from testgrove.core.engines.registry import default_services, engine_of
from testgrove.core.model import DatabaseAccess, WorktreeId
from testgrove.core.naming import compose_project_name, port_variable, url_variable
from testgrove.core.readiness import base_url
from testgrove.core.settings.parse import expand_env
from testgrove.core.settings.references import references
from testgrove.core.settings.service_variables import service_variables
from testgrove.core.settings.types import Settings


def variables(
    worktree: WorktreeId,
    *,
    ports: Mapping[str, int],
    databases: Mapping[str, DatabaseAccess],
    settings: Settings,
    reached: Mapping[str, str] | None = None,
    plain: str = "",
) -> dict[str, str]:
    """All values, in the order of the file. Raises UsageError when a configured value refers to nothing.

    databases: by service. plain: the service that the engine's own names mean, default_services() says otherwise.
    reached: how further ones are reached, as variables (service_variables()). A configured value that
    refers to a port or a database that this worktree does not have is left out, and so is a process's URL.
    """
    values = _of_services(databases, settings, plain)
    values |= reached or {}
    values |= {port_variable(name): str(port) for name, port in ports.items()}
    values |= {
        "TEST_MODE": "true",
        "WORKTREE_ID": str(worktree),
        "COMPOSE_PROJECT_NAME": compose_project_name(worktree),
    }
    possible = {port_variable(name) for name in settings.ports.names} | set(service_variables(settings.services))
    kept = _without(configured(settings), absent=possible - values.keys())
    return values | expand_env(kept, values, source="[tool.testgrove.env] '")


def _of_services(databases: Mapping[str, DatabaseAccess], settings: Settings, plain: str) -> dict[str, str]:
    """The engine's own names for its default service, and for every service its URL. A file's come last: where there
    is a server, DATABASE_URL is the server's."""
    values: dict[str, str] = {}
    defaults = default_services(settings.services)
    in_order = sorted(databases.items(), key=lambda item: engine_of(item[1].engine).isolation == "file")
    for name, access in sorted(in_order, key=lambda item: item[0] != plain):
        engine = engine_of(access.engine)
        found = {url_variable(name): access.url()}
        if name == plain or defaults.get(access.engine, access.engine) == name:
            found = {**engine.variables(access), engine.url_variable: access.url(), **found}
        values |= {variable: value for variable, value in found.items() if variable not in values}
    return values


def configured(settings: Settings) -> dict[str, str]:
    """The variables that the settings ask for, with the references in them."""
    return _urls(settings) | settings.env


def _urls(settings: Settings) -> dict[str, str]:
    """The addresses of the processes that have one, with the references in them."""
    urls = ((name, base_url(process.ready)) for name, process in settings.processes.items())
    return {url_variable(name): url for name, url in urls if url}


def _without(configured: Mapping[str, str], absent: set[str]) -> dict[str, str]:
    """The configured values but those that need a port or a database that this worktree does not have."""
    kept = dict(configured)
    while lacking := {name for name, value in kept.items() if absent & references(value)}:
        absent = absent | lacking
        kept = {name: value for name, value in kept.items() if name not in lacking}
    return kept
