"""The needs of users' commands in a worktree: its variables, its environment, and a command that replaces this
process."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from testgrove.core.envfile import parse
from testgrove.core.model import Worktree
from testgrove.core.worktrees.record import WorktreeRecord
from testgrove.core.worktrees.shells import enter
from testgrove.errors import PreconditionError
from testgrove.system import git
from testgrove.system.environment import build, by_hand
from testgrove.system.environment.record import EnvironmentRecord
from testgrove.system.files import atomic_write, explained, make_folder, read_env_file
from testgrove.system.processes.process import replace_process, scrubbed


def variables_of(worktree: Worktree) -> dict[str, str]:
    """Return the variables of a worktree's env file. Raises PreconditionError if it is missing."""
    path = worktree.path / worktree.env_file
    try:
        return parse(read_env_file(path))
    except OSError as error:
        raise PreconditionError(
            "no-env-file",
            f"cannot read {path}: {error.strerror}",
            hint=f"testgrove remove {worktree.id}   then create it again",
        ) from error


def environ_of(tree: Path, env_file: str) -> dict[str, str]:
    """Return a command's environment in a possibly incomplete worktree: testgrove's own, scrubbed, with its variables
    and its virtual environment."""
    environ = scrubbed()
    if (tree / env_file).is_file():
        with explained("read", tree / env_file):
            environ |= parse(read_env_file(tree / env_file))
    return with_environment(environ, tree)


def with_environment(environ: dict[str, str], tree: Path) -> dict[str, str]:
    """Activate a worktree's environment; if it has none, keep pip from installing into another one."""
    if (tree / ".venv").exists():
        return build.activate(environ, tree)
    return environ | {"PIP_REQUIRE_VIRTUALENV": "1"}


def command_environ(worktree: Worktree) -> dict[str, str]:
    """Return the environment of a user's command in a worktree. Raises PreconditionError if its env file is missing."""
    return with_environment(scrubbed() | variables_of(worktree), worktree.path)


def require_environment(worktree: WorktreeRecord) -> bool:
    """Return whether the worktree's environment was made by hand. Raises PreconditionError if it is missing or foreign.

    Without its own environment, a command would run the machine's Python, and with it any code.
    """
    if not worktree.python:
        return False  # made without one
    again = f"testgrove sync {worktree.id}"
    return by_hand.require_environment(
        worktree.path,
        EnvironmentRecord.from_json(worktree.environment),
        worktree.python,
        mend=(again, f"rm -rf {shlex.quote(str(worktree.path))}/.venv; {again}"),
    )


def replace_by(worktree: WorktreeRecord, command: Sequence[str]) -> NoReturn:
    """Become the command, inside the worktree. Exits 126 or 127 as env(1) does where it cannot be executed."""
    replace_process(command, cwd=worktree.path / worktree.directory, env=command_environ(worktree))


def shell_command(worktree: Worktree) -> list[str]:
    """The command that is the user's shell, for inside the worktree, with its id in the prompt."""
    environ = command_environ(worktree)
    active = {"VIRTUAL_ENV": environ["VIRTUAL_ENV"]} if "VIRTUAL_ENV" in environ else {}
    entry = enter(
        os.environ.get("SHELL") or "/bin/sh",
        str(worktree.id),
        folder=git.git_dir_of(worktree.path) / "testgrove-shell",
        variables=variables_of(worktree) | active,
        programs=f"{worktree.path}/.venv/bin" if active else "",
        home=environ.get("HOME", ""),
        zdotdir=environ.get("ZDOTDIR", ""),
    )
    for path, text in entry.files.items():
        make_folder(path.parent, 0o700)
        atomic_write(path, text, mode=0o600)
    return ["env", *(f"{name}={value}" for name, value in entry.environ.items()), *entry.command]
