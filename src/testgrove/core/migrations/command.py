"""A project's migration command, and what brings a database to another revision than the newest."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from testgrove.errors import UsageError

if TYPE_CHECKING:
    from testgrove.core.settings.types import Service


def migration_to(name: str, service: Service, revision: str) -> str:
    """The command that brings a database to a revision. name: the service's. Raises UsageError (``no-migrate-to``)."""
    if service.migrate_to:
        return service.migrate_to.replace("${REVISION}", shlex.quote(revision))
    words = service.migrate.split()
    if "alembic" in service.migrate and words[-1] in ("head", "heads"):
        return " ".join([*words[:-1], shlex.quote(revision)])
    raise UsageError(
        "no-migrate-to",
        f"cannot derive how to migrate to {revision}: 'services.{name}.migrate' is '{service.migrate}'",
        hint=f'say it: [tool.testgrove.services.{name}] migrate_to = "… ${{REVISION}}"',
    )
