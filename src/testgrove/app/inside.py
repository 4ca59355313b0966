"""Being inside a worktree: its variables, and a command that takes this process's place."""

from __future__ import annotations

from collections.abc import Sequence

from testgrove.core.envfile import parse
from testgrove.core.model import Worktree
from testgrove.errors import PreconditionError
from testgrove.system import environment
from testgrove.system.process import replace_process, scrubbed


def variables_of(worktree: Worktree) -> dict[str, str]:
    """The variables of a worktree's env file. Raises PreconditionError when it is gone."""
    path = worktree.path / worktree.env_file
    try:
        return parse(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise PreconditionError(
            "no-env-file",
            f"{path} cannot be read: {error.strerror}",
            hint=f"testgrove remove {worktree.id}   and create it again",
        ) from error


def replace_by(worktree: Worktree, command: Sequence[str]) -> None:
    """Become the command, inside the worktree. Exits 126 or 127 as env(1) does where it cannot be executed."""
    environ = scrubbed() | variables_of(worktree)
    if (worktree.path / ".venv").exists():
        environ = environment.activate(environ, worktree.path)
    replace_process(command, cwd=worktree.path, env=environ)
