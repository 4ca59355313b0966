"""The variables a worktree's environment file carries."""

from __future__ import annotations

from collections.abc import Mapping

from testgrove.core.config import Settings, expand_env
from testgrove.core.model import DatabaseAccess, WorktreeId
from testgrove.core.naming import compose_project_name, port_variable


def variables(
    worktree: WorktreeId,
    *,
    ports: Mapping[str, int],
    databases: Mapping[str, DatabaseAccess],
    settings: Settings,
) -> dict[str, str]:
    """All values, in the order of the file. Raises UsageError when a configured value refers to nothing."""
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
    return values | expand_env(settings.env, values, source="[tool.testgrove.env] '")
