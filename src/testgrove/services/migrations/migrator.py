"""Runs migrations on one database and on no other: the project's command, or single steps of its tool, SQL too."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from testgrove.core.migrations.tool import Command
from testgrove.errors import UnavailableError
from testgrove.services.migrations.guard import (
    permitted_for_migration,
    refuse_other_databases,
    require_objects,
    shortened,
)
from testgrove.services.migrations.schemas import schemas_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from testgrove.core.migrations.tool import Script, Work
    from testgrove.core.model import DatabaseAccess
    from testgrove.core.settings.types import Settings
    from testgrove.services.base import Launcher

TIMEOUT = 900.0  # seconds of a command, or of one step
FAILED = "migration-failed"
_AFTER_SETUP = "if it needs what `setup` generates: migrate_after_setup = true"
_NOT_RUN = (126, 127)  # the shell's: there is no such command


class Migrator:
    """tree: where commands run; environ: what they see, whole, with the variables of a database. settings: the
    project's."""

    def __init__(
        self,
        launcher: Launcher,
        tree: Path,
        environ: Callable[[DatabaseAccess], Mapping[str, str]],
        settings: Settings,
    ) -> None:
        self._launcher, self._tree, self._environ, self._settings = launcher, tree, environ, settings

    def upgrade(
        self, command: str, access: DatabaseAccess, others: Mapping[str, DatabaseAccess] = MappingProxyType({})
    ) -> None:
        """Run the project's migration command. others: databases that its environment names besides.

        Raises UnavailableError (``migration-failed``) with the command and the end of its output; PreconditionError
        (``other-database``) if it would use, or has used, another database.
        """
        try:
            self._launch(command, {**others, access.engine: access}, self._environ(access))
        except UnavailableError as error:
            late = self._settings.setup and not self._settings.migrate_after_setup
            raise UnavailableError(
                FAILED,
                f"the migration `{command}` failed in {self._tree}:\n{error.message}",
                hint=error.hint or (_AFTER_SETUP if late else ""),
            ) from error
        require_objects(command, access)

    def do(self, work: Iterable[Work], access: DatabaseAccess) -> None:
        """Run the pieces of work in order.

        Raises UnavailableError (``migration-failed``) if the project's command failed, with its output in
        ``details["output"]``. Raises PreconditionError (``other-database``) like refuse_other_databases().
        """
        for each in work:
            if isinstance(each, Command):
                self._run(each, access)
            else:
                _execute(each, access)

    def ask(self, command: Command, access: DatabaseAccess) -> tuple[int, str]:
        """A command's status and output. Raises UnavailableError where it could not run."""
        try:
            return 0, self._run(command, access)
        except UnavailableError as error:
            if error.code != FAILED:
                raise
            return 1, str(error.details["output"])

    def _run(self, command: Command, access: DatabaseAccess) -> str:
        try:
            return self._launch(command.text, {access.engine: access}, self._environ(access))
        except UnavailableError as error:
            if error.code != "tool-failed" or error.details.get("returncode") in _NOT_RUN:
                raise
            output = str(error.details.get("stderr", ""))
            raise UnavailableError(
                FAILED, f"`{shortened(command.text)}` failed in {self._tree}:\n{error.message}", output=output
            ) from error

    def _launch(self, command: str, databases: Mapping[str, DatabaseAccess], env: Mapping[str, str]) -> str:
        permitted = permitted_for_migration(databases, self._settings, self._tree, env)
        refuse_other_databases(command, tree=self._tree, env=env, permitted=permitted)
        argv = ("/bin/sh", "-c", command)
        return self._launcher.run(argv, cwd=self._tree, env=env, timeout=TIMEOUT, permitted=permitted)


def check_it_is_used(work: Iterable[Work], access: DatabaseAccess) -> None:
    """Check that migration commands use this database and no other.

    A tool whose configuration names a database could otherwise migrate a user's own database back to nothing. Raises
    PreconditionError (``other-database``).
    """
    command = next((each.text for each in work if isinstance(each, Command)), None)
    if command is not None:
        require_objects(command, access, refused="migrate back")


def _execute(script: Script, access: DatabaseAccess) -> None:
    try:
        schemas_of(access).execute(script.sql, access, timeout=TIMEOUT)
    except UnavailableError as error:
        if error.code != "script-failed":
            raise
        raise UnavailableError(
            FAILED, f"{script.file} failed: {error.message}", output=error.message.strip()
        ) from error
