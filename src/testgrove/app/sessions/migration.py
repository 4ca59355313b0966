"""A project's migration in any checkout, run as the tests of a session would run it."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from testgrove.app.context import AppContext
from testgrove.app.databases.migration import checkout_variables, fingerprint
from testgrove.core.envfile import parse
from testgrove.core.frozen import frozen
from testgrove.core.model import DatabaseAccess
from testgrove.core.naming import FIXED_VARIABLES, port_variable
from testgrove.core.settings.service_variables import service_variables
from testgrove.core.settings.types import Service
from testgrove.core.worktrees.variables import configured
from testgrove.services.migrations.migrator import Migrator
from testgrove.services.provider import Traits
from testgrove.system.files import read_env_file
from testgrove.system.processes.process import scrubbed


@frozen
class TestEnvironment:
    """The environment that tests, and migrations, run in. prefix: its folder, None where commands come from PATH;
    installed: changes with what is installed in it, empty where that is not known."""

    __test__ = False  # it is none

    prefix: Path | None
    installed: str


class Migration:
    """A service's migration in this checkout, as tests in it would run it. tree: the checkout."""

    def __init__(self, context: AppContext, tree: Path, tests: TestEnvironment) -> None:
        self._context, self.tree, self._tests = context, tree, tests

    def fingerprint(self, name: str, service: Service, traits: Traits) -> str:
        """The template's that the files, as they are now, ask for. name: the service's."""
        # Without knowing what is installed, a template of another session may be stale.
        tool = self._tests.installed or secrets.token_hex()
        env = self._users_own() | self._context.project.settings.env if service.migrate else {}
        return fingerprint(name, service, traits, tree=self._folder(service), tool=tool, env=env)

    def run(self, command: str, name: str, access: DatabaseAccess) -> None:
        """Bring an empty database of a service up to date."""
        if command:
            settings = self._context.project.settings
            tree = self._folder(settings.services[name])
            Migrator(self._context.launcher, tree, partial(self.environ, name), settings).upgrade(command, access)

    def _folder(self, service: Service) -> Path:
        return self._context.project.folder_in(self.tree, service.directory)

    def environ(self, name: str, access: DatabaseAccess) -> dict[str, str]:
        """As tests in this checkout see it: their environment is active, the worktree's variables are set, but for a
        database's, which are those of one. name: its service."""
        settings = self._context.project.settings
        ours = checkout_variables(settings, name, access)
        return _activated(scrubbed(), self._tests.prefix) | self._env_file() | ours

    def _env_file(self) -> dict[str, str]:
        path = self.tree / self._context.project.settings.env_file
        return parse(read_env_file(path)) if path.is_file() else {}

    def _users_own(self) -> dict[str, str]:
        """Return the variables of the env file that testgrove did not write: its own differ in each worktree."""
        settings = self._context.project.settings
        written = {*service_variables(settings.services), *FIXED_VARIABLES, *map(port_variable, settings.ports.names)}
        written |= configured(settings).keys()
        return {name: value for name, value in self._env_file().items() if name not in written}


def _activated(env: Mapping[str, str], prefix: Path | None) -> dict[str, str]:
    if prefix is None:
        return dict(env)
    own = {"PATH": f"{prefix / 'bin'}{os.pathsep}{env.get('PATH', os.defpath)}"}
    return {**env, **own} | ({"VIRTUAL_ENV": str(prefix)} if (prefix / "pyvenv.cfg").is_file() else {})
