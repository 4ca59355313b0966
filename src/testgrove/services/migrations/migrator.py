"""Runs the work of a migration tool on one database: commands in the project's environment, or SQL directly."""

from __future__ import annotations

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

TIMEOUT = 900.0  # seconds of one step
FAILED = "migration-failed"
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
        argv, env = ("/bin/sh", "-c", command.text), self._environ(access)
        permitted = permitted_for_migration({access.engine: access}, self._settings, self._tree, env)
        refuse_other_databases(command.text, tree=self._tree, env=env, permitted=permitted)
        try:
            return self._launcher.run(argv, cwd=self._tree, env=env, timeout=TIMEOUT, permitted=permitted)
        except UnavailableError as error:
            if error.code != "tool-failed" or error.details.get("returncode") in _NOT_RUN:
                raise
            output = str(error.details.get("stderr", ""))
            raise UnavailableError(
                FAILED, f"`{shortened(command.text)}` failed in {self._tree}:\n{error.message}", output=output
            ) from error


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
