"""A project's migration in any checkout, run as the tests of a session would run it."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from testgrove.app.databases.engines import RunMeans
from testgrove.core.envfile import parse
from testgrove.core.migrations.fingerprint import template_fingerprint
from testgrove.core.model import DatabaseAccess, WorktreeId
from testgrove.core.naming import DATABASE_VARIABLES, FIXED_VARIABLES, port_variable
from testgrove.core.settings.types import Service, Sqlite
from testgrove.core.worktrees.variables import configured, variables
from testgrove.services.migrations.inputs import read_inputs
from testgrove.services.migrations.run import run_migration
from testgrove.system.files import read_env_file
from testgrove.system.processes.process import scrubbed

_ANY = WorktreeId("session", "checkout")  # what the project's variables are computed for; no name of it is used


@dataclass(frozen=True)
class Tests:
    """The environment that tests, and migrations, run in. prefix: its folder, None where commands come from PATH;
    installed: changes with what is installed in it, empty where that is not known."""

    __test__ = False  # it is none

    prefix: Path | None
    installed: str


class Migration:
    """A service's migration in this checkout, as tests in it would run it. tree: the checkout."""

    def __init__(self, means: RunMeans, tree: Path, tests: Tests) -> None:
        self._means, self.tree, self._tests = means, tree, tests

    def fingerprint(
        self,
        service: Service | Sqlite,
        *,
        engine: str,
        encoding: str = "",
        locale: str = "",
        extensions: tuple[str, ...] = (),
        settings: Mapping[str, str] | None = None,
    ) -> str:
        """The template's that the files, as they are now, ask for. engine: with its version."""
        return template_fingerprint(
            engine=engine,
            encoding=encoding,
            locale=locale,
            extensions=extensions,
            settings=settings or {},
            migrate=service.migrate,
            # Without knowing what is installed, a template of another session may be stale.
            tool=(self._tests.installed or secrets.token_hex()) if service.migrate else "",
            env=self._users_own() | self._means.project.settings.env if service.migrate else {},
            inputs=read_inputs(self.tree, service.inputs) if service.migrate else (),
        )

    def run(self, command: str, access: DatabaseAccess) -> None:
        """Bring an empty database up to date."""
        if command:
            env, settings = self.environ(access), self._means.project.settings
            run_migration(command, access, launcher=self._means.launcher, cwd=self.tree, env=env, settings=settings)

    def environ(self, access: DatabaseAccess) -> dict[str, str]:
        """As tests in this checkout see it: their environment is active, the worktree's variables are set, but for a
        database's, which are those of one."""
        project = self._means.project
        values = variables(_ANY, ports={}, databases={access.engine: access}, settings=project.settings)
        ours = {name: value for name, value in values.items() if name not in FIXED_VARIABLES}
        return _activated(scrubbed(), self._tests.prefix) | self._env_file() | ours

    def _env_file(self) -> dict[str, str]:
        path = self.tree / self._means.project.settings.env_file
        return parse(read_env_file(path)) if path.is_file() else {}

    def _users_own(self) -> dict[str, str]:
        """Return the variables of the env file that testgrove did not write: its own differ in each worktree."""
        settings = self._means.project.settings
        written = {*DATABASE_VARIABLES, *FIXED_VARIABLES, *map(port_variable, settings.ports.names)}
        written |= configured(settings).keys()
        return {name: value for name, value in self._env_file().items() if name not in written}


def _activated(env: Mapping[str, str], prefix: Path | None) -> dict[str, str]:
    if prefix is None:
        return dict(env)
    own = {"PATH": f"{prefix / 'bin'}{os.pathsep}{env.get('PATH', os.defpath)}"}
    return {**env, **own} | ({"VIRTUAL_ENV": str(prefix)} if (prefix / "pyvenv.cfg").is_file() else {})
