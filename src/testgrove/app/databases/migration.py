"""A project's migration as a part of making a worktree: its fingerprint, and its run in the worktree's environment."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from testgrove.app.databases.cell import CellDatabases
from testgrove.app.worktrees.workspace import Workspace
from testgrove.core.migrations.fingerprint import template_fingerprint
from testgrove.core.model import DatabaseAccess
from testgrove.core.settings.types import Service, Sqlite
from testgrove.services.base import Launcher
from testgrove.services.migrations.inputs import read_inputs
from testgrove.services.migrations.run import run_migration


def fingerprint(
    service: Service | Sqlite,
    creation: Workspace,
    *,
    engine: str,
    encoding: str = "",
    locale: str = "",
    extensions: tuple[str, ...] = (),
    settings: Mapping[str, str] | None = None,
    migrate: str | None = None,
) -> str:
    """The template's that this worktree's files ask for. To be taken before something is built in the tree.

    engine: with its version, and what else about the server can change the result. migrate: the command, where it is
    not the service's.
    """
    command = service.migrate if migrate is None else migrate
    assert creation.plan is not None or not command
    return template_fingerprint(
        engine=engine,
        encoding=encoding,
        locale=locale,
        extensions=extensions,
        settings=settings or {},
        migrate=command,
        tool=creation.plan.fingerprint if creation.plan and command else "",
        env=creation.project.settings.env if command else {},
        inputs=read_inputs(creation.tree, service.inputs) if command else (),
    )


def migration(
    command: str, launcher: Launcher, creation: Workspace, making: CellDatabases
) -> Callable[[DatabaseAccess], None]:
    """What brings an empty database up to date: the command, once the environment it needs is there.

    It sees the variables of that database alone.
    """

    def migrate(access: DatabaseAccess) -> None:
        if command:
            making.say(f"building the template: {command}")
            making.await_environment()
            environ = creation.environ_with({access.engine: access})
            settings = creation.project.settings
            run_migration(command, access, launcher=launcher, cwd=creation.tree, env=environ, settings=settings)

    return migrate
