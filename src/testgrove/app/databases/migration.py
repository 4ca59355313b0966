"""A project's migration as a part of making a database: the template's fingerprint, and the command's run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from testgrove.app.databases.creation import DatabaseCreation
from testgrove.app.worktrees.workspace import Workspace
from testgrove.core.migrations.fingerprint import template_fingerprint
from testgrove.core.model import DatabaseAccess, WorktreeId
from testgrove.core.naming import FIXED_VARIABLES
from testgrove.core.settings.types import Service, Settings
from testgrove.core.worktrees.variables import variables
from testgrove.services.base import Launcher
from testgrove.services.migrations.inputs import read_inputs
from testgrove.services.migrations.migrator import Migrator
from testgrove.services.provider import TemplateSpec, Traits

_CHECKOUT = WorktreeId("current", "checkout")  # what the project's variables are computed for; no name of it is used


def checkout_variables(settings: Settings, name: str, access: DatabaseAccess) -> dict[str, str]:
    """Return the variables that a migration of one service sees in a checkout that testgrove did not make."""
    values = variables(_CHECKOUT, ports={}, databases={name: access}, settings=settings, plain=name)
    return {name: value for name, value in values.items() if name not in FIXED_VARIABLES}


def fingerprint(name: str, service: Service, traits: Traits, *, tree: Path, tool: str, env: Mapping[str, str]) -> str:
    """The template's that the files in a tree ask for. To be taken before something is built in it.

    name: the service's, whose variables the command sees. tool: the fingerprint of the environment it runs in. env: the
    variables that the project gives it.
    """
    command = service.migrate
    return template_fingerprint(
        engine=traits.engine + (f" as {name}" if command and name != service.engine else ""),
        encoding=traits.encoding,
        locale=traits.locale,
        extensions=traits.extensions,
        settings=traits.settings,
        migrate=command,
        tool=tool if command else "",
        env=env if command else {},
        inputs=read_inputs(tree, service.inputs) if command else (),
    )


def template_spec_in(
    workspace: Workspace, name: str, service: Service, traits: Traits, launcher: Launcher, making: DatabaseCreation
) -> TemplateSpec:
    """The template that a workspace's files ask for."""
    plan = workspace.plan
    assert plan is not None or not service.migrate
    tool, env = plan.fingerprint if plan else "", workspace.project.settings.env
    folder = workspace.home / service.directory
    template_spec = fingerprint(name, service, traits, tree=folder, tool=tool, env=env)
    return TemplateSpec(template_spec, migration(service.migrate, name, launcher, workspace, making))


def migration(
    command: str, name: str, launcher: Launcher, workspace: Workspace, making: DatabaseCreation
) -> Callable[[DatabaseAccess], None]:
    """Return the command that migrates an empty database, run once the environment it needs is there.

    name: the service's. It sees the variables of that database alone.
    """

    def migrate(access: DatabaseAccess) -> None:
        if command:
            making.say(f"building the template: {command}")
            making.await_environment()
            settings = workspace.project.settings
            tree = workspace.home / settings.services[name].directory
            Migrator(launcher, tree, partial(workspace.environ_of, name), settings).upgrade(command, access)

    return migrate
