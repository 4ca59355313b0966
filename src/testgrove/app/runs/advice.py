"""Advice after a failed attempt, from its output: more about the cause, and what to type."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Callable
from functools import cached_property
from pathlib import Path, PurePosixPath

from testgrove.app.project import Project
from testgrove.app.worktrees.workspace import Workspace
from testgrove.core import envfile
from testgrove.core.discovery.missing_services import missing_service
from testgrove.core.environments.declared import parse_toml
from testgrove.core.environments.missing import declared_elsewhere, distribution_of, how_to_add
from testgrove.core.environments.plan import Contents
from testgrove.core.folders import below, joined
from testgrove.core.frozen import frozen
from testgrove.core.runs.addopts import comment_in_addopts, refuses_arguments
from testgrove.core.runs.django import needs_settings, settings_module
from testgrove.core.runs.lacking import (
    builds_when_imported,
    missing_file,
    missing_module,
    missing_plugin,
    unset_variable,
)
from testgrove.core.runs.outcome import SessionFacts
from testgrove.core.runs.own_modules import folder_with
from testgrove.core.runs.plan import Cell
from testgrove.core.runs.pytest_settings import CONFIGS, configuration_file
from testgrove.core.settings.types import Settings
from testgrove.errors import TestgroveError
from testgrove.system import git
from testgrove.system.environment import build
from testgrove.system.environment.uv import uv_as_typed
from testgrove.system.files import read_if_there

_POINTER = "version https://git-lfs.github.com/spec"
_PYTEST_TABLE = {
    "pyproject.toml": "[tool.pytest.ini_options] in ", "setup.cfg": "[tool:pytest] in ", "tox.ini": "[pytest] in "
}  # fmt: skip
_EXAMPLES = (".env.example", ".env.sample", ".env.template", ".env.dist", "example.env")


@frozen
class Advice:
    """note: more about the cause. hint: a command or a setting; empty where none is known."""

    note: str = ""
    hint: str = ""


@frozen
class Failure:
    """A failed attempt. output: the last of what its command printed. facts: what its pytest reported."""

    project: Project
    workspace: Workspace
    cell: Cell
    output: str
    facts: SessionFacts
    timed_out: bool = False

    @property
    def tree(self) -> Path:
        """The checkout that the attempt ran in."""
        return self.workspace.tree

    @property
    def in_place(self) -> bool:
        """Whether it ran in the user's own checkout, in an environment that testgrove did not make."""
        return self.workspace.environment_elsewhere is not None

    @property
    def contents(self) -> Contents | None:
        """The contents of its environment, where testgrove has chosen them."""
        return self.workspace.plan.contents if self.workspace.plan else None

    @property
    def directory(self) -> str:
        """The folder that its command ran in, relative to the checkout."""
        return self.workspace.spec.directory

    @cached_property
    def files(self) -> list[str]:
        """The files that git lists in the checkout."""
        return git.listed_files(self.tree)

    @cached_property
    def files_here(self) -> list[str]:
        """Those in the folder of its command, relative to it."""
        return below(self.directory, self.files)

    def text(self, name: str) -> str:
        """The text of a file of the checkout; empty where there is none."""
        return (read_if_there(self.tree / name) or b"").decode("utf-8", "replace")

    def text_here(self, name: str) -> str:
        """The text of a file in the folder of its command."""
        return self.text(joined(self.directory, name))


def advice(failure: Failure) -> Advice:
    """The first advice that fits the failure; an empty one where none does."""
    looks: tuple[Callable[[Failure], Advice | None], ...] = (
        _other_pytest,
        _comment_in_addopts,
        _missing_service,
        _lfs_pointer,
        _django_settings,
        _editable_build,
        _lacking_distribution,
        _unset_variable,
        _missing_file,
        _timeout,
    )
    try:
        return next((found for look in looks if (found := look(failure))), Advice())
    except (TestgroveError, ValueError, OSError):  # the tests may have changed the files, and print any text as a path
        return Advice()


def _other_pytest(failure: Failure) -> Advice | None:
    """In the environment that is used in place, there is no pytest, and the shell has found another one."""
    if not (failure.facts.elsewhere and failure.in_place):
        return None
    return Advice(
        f"pytest is not installed in {failure.workspace.environment_elsewhere}",
        install_in_place(failure.workspace, "pytest"),
    )


def _comment_in_addopts(failure: Failure) -> Advice | None:
    if not refuses_arguments(failure.output):
        return None
    texts = {name: failure.text_here(name) for name in CONFIGS if name in failure.files_here}
    found = comment_in_addopts(texts)
    if found is None:
        return None
    file = joined(failure.directory, found.file)
    note = f"{file}:{found.line}: pytest takes the comment in `addopts` for arguments: {found.text}"
    return Advice(note, f"move the comment out of `addopts` in {file}")


def _missing_service(failure: Failure) -> Advice | None:
    project = failure.project
    declared = {service.engine for service in project.settings.services.values()}
    told = missing_service(failure.output, declared, project.table)
    note, _, hint = told.partition(": ")
    if project.settings != Settings():  # init refuses to add to settings
        hint = hint.removeprefix("run `testgrove init`, or ")
    return Advice(note, hint) if told else None


def _add(failure: Failure, *settings: tuple[str, str]) -> str:
    """Return advice that adds lines to the settings or changes them; each with its table, empty for the top."""
    return " and ".join(_written(failure.project, table, line) for table, line in settings)


def _written(project: Project, table: str, line: str) -> str:
    key = line.partition(" = ")[0]
    settings = project.settings
    is_there = table.startswith("suites.") and settings.suites if table else getattr(settings, key, None)
    return f"set {line} in {project.table(table)}" if is_there else f"add {line} to {project.table(table)}"


def _typed(failure: Failure, folder: str, command: str) -> str:
    """A command for a folder of the user's checkout, as it is typed where the user stands; empty for none."""
    where = os.path.relpath(failure.project.repository.toplevel / folder)
    return command if where == "." or not command else f"cd {shlex.quote(where)} && {command}"


def _lfs_pointer(failure: Failure) -> Advice | None:
    """A file that the output names, and of which the checkout has Git LFS's pointer alone."""
    if failure.project.settings.lfs or "filter=lfs" not in failure.text(".gitattributes"):
        return None
    named = [name for name in failure.files if PurePosixPath(name).name in failure.output]
    small = (name for name in named if (failure.tree / name).is_file() and (failure.tree / name).stat().st_size < 1024)
    pointer = next((name for name in small if failure.text(name).startswith(_POINTER)), "")
    if not pointer:
        return None
    hint = "git lfs pull" if failure.in_place else _add(failure, ("", "lfs = true"))
    return Advice(f"{pointer} is a pointer of Git LFS, whose content was not fetched", hint)


def _django_settings(failure: Failure) -> Advice | None:
    module = settings_module(failure.text_here("manage.py")) if needs_settings(failure.output) else ""
    return Advice("", _add(failure, ("env", f'DJANGO_SETTINGS_MODULE = "{module}"'))) if module else None


def _editable_build(failure: Failure) -> Advice | None:
    """An editable installation that is built again when it is imported, without what that needs."""
    if not builds_when_imported(failure.output):
        return None
    system = parse_toml(failure.text_here("pyproject.toml").encode()).get("build-system", {})
    requires = shlex.join(map(str, system.get("requires", ())))
    note = f"its editable installation is built when it is imported, and needs {requires}"
    if failure.in_place:
        return Advice(note, install_in_place(failure.workspace, requires))
    uv = uv_as_typed()
    commands = [f"{uv} pip install {requires}", f"{uv} pip install --no-build-isolation --no-deps --editable ."]
    return Advice(note, _add(failure, ("", f"setup = {json.dumps([*failure.project.settings.setup, *commands])}")))


def _lacking_distribution(failure: Failure) -> Advice | None:
    module = missing_module(failure.output)
    if module and (own := _own_module(failure, module)):
        return own
    plugin = "" if module else missing_plugin(failure.output)
    name = plugin or distribution_of(module)
    if not name or failure.contents is None:
        return None
    home = failure.workspace.plan.home if failure.workspace.plan else ""
    files = build.files_of(failure.tree / home)
    if plugin == "pytest-django" and not any(b"django" in text.lower() for text in files.values()):
        return None  # other projects have fixtures of the same names
    told = f"{plugin} is not installed" if plugin else ""
    if failure.in_place:
        return Advice(told, install_in_place(failure.workspace, name))
    if elsewhere := declared_elsewhere(plugin or module, files, failure.contents):
        return Advice(str(elsewhere), _add(failure, *elsewhere.settings))
    return Advice(told, _typed(failure, home, how_to_add(name, failure.contents, files, uv_as_typed())))


def install_in_place(workspace: Workspace, words: str) -> str:
    """The command that installs something into the environment that is used in place."""
    python = workspace.plan.python if workspace.plan else Path("python")
    return f"{uv_as_typed()} pip install --python {shlex.quote(str(python))} {words}"


def _own_module(failure: Failure, module: str) -> Advice | None:
    """A module of the project itself that its tests cannot import."""
    folder = folder_with(module, failure.files_here)
    if not folder:
        other = folder_with(module, failure.files)
        return Advice(f"{module} is in {other}/ of the repository, which is not installed") if other else None
    note = f"{module} is in {folder}/ of the project, which is not installed"
    buildable = "setup.py" in failure.files_here or "[build-system]" in failure.text_here("pyproject.toml")
    if failure.in_place and buildable:
        return Advice(note, _typed(failure, failure.directory, install_in_place(failure.workspace, "--editable .")))
    texts = {name: failure.text_here(name) for name in CONFIGS if name in failure.files_here}
    file = configuration_file(texts)
    line = f'pythonpath = ["{folder}"]' if file == "pyproject.toml" else f"pythonpath = {folder}"
    return Advice(note, f"add {line} to {_PYTEST_TABLE.get(file, '')}{joined(failure.directory, file)}")


def _unset_variable(failure: Failure) -> Advice | None:
    name = unset_variable(failure.output)
    if not name:
        return None
    note = f"the environment variable {name} is not set"
    if copied := _env_file_with(failure, name):
        return Advice(f"{note}; {copied} of the main checkout sets it and is not copied", _copied(failure, copied))
    values = (envfile.parse(failure.text_here(example)).get(name, "") for example in _EXAMPLES)
    value = next(filter(None, values), "test")
    return Advice(note, _add(failure, ("env", f"{name} = {json.dumps(value)}")))


def _env_file_with(failure: Failure, name: str) -> str:
    """The ignored file of the main checkout that sets a variable, where the attempt did not have it."""
    if failure.in_place or failure.tree == failure.project.main:
        return ""
    for path in sorted(failure.project.main.glob(".env*")):
        own = path.name == failure.project.settings.env_file or path.name in failure.files
        text = None if own or not path.is_file() else read_if_there(path)
        if text is not None and name in envfile.parse(text.decode("utf-8", "replace")):
            return path.name
    return ""


def _copied(failure: Failure, name: str) -> str:
    return _add(failure, ("", f"copy = {json.dumps([*failure.project.settings.copy, name])}"))


def _missing_file(failure: Failure) -> Advice | None:
    """A file that the main checkout has, and git does not."""
    path = missing_file(failure.output)
    if not path or failure.in_place:
        return None
    name = path.removeprefix(f"{failure.tree}/").removeprefix("./")
    if name.startswith("/") or ".." in name or name in failure.files or not (failure.project.main / name).is_file():
        return None
    return Advice(f"{name} is in the main checkout, is not in git and is not copied", _copied(failure, name))


def _timeout(failure: Failure) -> Advice | None:
    if not failure.timed_out:
        return None
    project, suite = failure.project, failure.cell.settings
    if failure.cell.scenario or project.settings_folder != project.directory:
        return None  # its limit, or its suite, is in no table of these settings
    name = failure.cell.suite.removeprefix(f"{project.directory}/") if project.directory else failure.cell.suite
    table = "suites.unit" if name == project.directory else f"suites.{name}"
    command = () if project.settings.suites else ((table, f"command = {json.dumps(suite.command)}"),)
    return Advice("", _add(failure, *command, (table, f"timeout = {2 * suite.timeout:g}")))
