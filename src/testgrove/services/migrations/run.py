"""Runs a project's migration command on its own database and on no other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from testgrove.errors import UnavailableError
from testgrove.services.migrations.guard import permitted_for_migration, refuse_other_databases, require_objects

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from testgrove.core.model import DatabaseAccess
    from testgrove.core.settings.types import Settings
    from testgrove.services.base import Launcher


_AFTER_SETUP = "if it needs what `setup` generates: migrate_after_setup = true"


def run_migration(
    command: str,
    access: DatabaseAccess,
    *,
    launcher: Launcher,
    cwd: Path,
    env: Mapping[str, str],
    settings: Settings,
    others: Mapping[str, DatabaseAccess] | None = None,
    timeout: float = 900.0,
) -> None:
    """Run a project's migration command in a checkout, for one database.

    env: the complete environment, with the variables of its databases. settings: the project's.
    Raises UnavailableError (``migration-failed``) with the command and the end of its output; PreconditionError
    (``other-database``) if it would use, or has used, another database.
    """
    databases = {**(others or {}), access.engine: access}
    permitted = permitted_for_migration(databases, settings, cwd, env)
    refuse_other_databases(command, tree=cwd, env=env, permitted=permitted)
    try:
        launcher.run(("/bin/sh", "-c", command), cwd=cwd, env=env, timeout=timeout, permitted=permitted)
    except UnavailableError as error:
        hint = error.hint or (_AFTER_SETUP if settings.setup and not settings.migrate_after_setup else "")
        raise UnavailableError(
            "migration-failed", f"the migration `{command}` failed in {cwd}:\n{error.message}", hint=hint
        ) from error
    require_objects(command, access)
