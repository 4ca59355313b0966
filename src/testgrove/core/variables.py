"""The variables a worktree's environment file carries."""

from __future__ import annotations

from collections.abc import Mapping

from testgrove.core.config import Settings, expand_env, references
from testgrove.core.model import DatabaseAccess, WorktreeId
from testgrove.core.naming import DATABASE_VARIABLES, compose_project_name, port_variable


def variables(
    worktree: WorktreeId,
    *,
    ports: Mapping[str, int],
    databases: Mapping[str, DatabaseAccess],
    settings: Settings,
) -> dict[str, str]:
    """All values, in the order of the file. Raises UsageError when a configured value refers to nothing.

    One that refers to a port or a database that this worktree does not have is left out.
    """
    values: dict[str, str] = {}
    if postgres := databases.get("postgres"):
        values |= {
            "DATABASE_URL": postgres.url(),
            "DATABASE_NAME": postgres.name,
            "PGHOST": postgres.host,
            "PGPORT": str(postgres.port),
            "PGUSER": postgres.user,
            "PGPASSWORD": postgres.password.reveal(),
        }
    if redis := databases.get("redis"):
        values["REDIS_URL"] = redis.url()
    values |= {port_variable(name): str(port) for name, port in ports.items()}
    values |= {
        "TEST_MODE": "true",
        "WORKTREE_ID": str(worktree),
        "COMPOSE_PROJECT_NAME": compose_project_name(worktree),
    }
    possible = {port_variable(name) for name in settings.ports.names} | set(DATABASE_VARIABLES)
    configured = _without(settings.env, absent=possible - values.keys())
    return values | expand_env(configured, values, source="[tool.testgrove.env] '")


def _without(configured: Mapping[str, str], absent: set[str]) -> dict[str, str]:
    """The configured values but those that need a port or a database that this worktree does not have."""
    kept = dict(configured)
    while lacking := {name for name, value in kept.items() if absent & references(value)}:
        absent = absent | lacking
        kept = {name: value for name, value in kept.items() if name not in lacking}
    return kept
