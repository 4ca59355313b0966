"""The variables a worktree's environment file carries."""

from __future__ import annotations

from collections.abc import Mapping

from testgrove.core.model import DatabaseAccess, WorktreeId
from testgrove.core.naming import DATABASE_VARIABLES, compose_project_name, port_variable, url_variable
from testgrove.core.readiness import base_url
from testgrove.core.settings.parse import expand_env
from testgrove.core.settings.references import references
from testgrove.core.settings.types import Settings


def variables(
    worktree: WorktreeId,
    *,
    ports: Mapping[str, int],
    databases: Mapping[str, DatabaseAccess],
    settings: Settings,
    reached: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """All values, in the order of the file. Raises UsageError when a configured value refers to nothing.

    reached: how further databases are reached, as variables (DATABASE_VARIABLES). A configured value that
    refers to a port or a database that this worktree does not have is left out, and so is a process's URL.
    """
    values: dict[str, str] = {}
    if postgres := databases.get("postgres"):
        values |= {
            "DATABASE_URL": postgres.url(),
            "DATABASE_NAME": postgres.name,
            "PGHOST": postgres.host,
            "PGPORT": str(postgres.port),
            "PGUSER": postgres.user,
        }
        if postgres.name != postgres.user:  # else it is what clients assume
            values["PGDATABASE"] = postgres.name
        if postgres.password.reveal():  # somebody's own server may ask for none
            values["PGPASSWORD"] = postgres.password.reveal()
    if redis := databases.get("redis"):
        values["REDIS_URL"] = redis.url()
    if sqlite := databases.get("sqlite"):
        if postgres is None:
            values["DATABASE_URL"] = sqlite.url()
        values |= {"SQLITE_URL": sqlite.url(), "SQLITE_PATH": sqlite.name}
    values |= reached or {}
    values |= {port_variable(name): str(port) for name, port in ports.items()}
    values |= {
        "TEST_MODE": "true",
        "WORKTREE_ID": str(worktree),
        "COMPOSE_PROJECT_NAME": compose_project_name(worktree),
    }
    possible = {port_variable(name) for name in settings.ports.names} | set(DATABASE_VARIABLES)
    kept = _without(configured(settings), absent=possible - values.keys())
    return values | expand_env(kept, values, source="[tool.testgrove.env] '")


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
