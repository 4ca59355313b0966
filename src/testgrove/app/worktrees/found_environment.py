"""The environment of a checkout that testgrove did not set up: its own, the active one, or the Python on PATH."""

from __future__ import annotations

import os
import shlex
import shutil
from pathlib import Path

from testgrove.app.project import Project
from testgrove.app.worktrees.user_commands import require_environment
from testgrove.core.folders import ancestors
from testgrove.core.frozen import frozen
from testgrove.errors import PreconditionError
from testgrove.system.environment.record import FOLDER
from testgrove.system.environment.uv import uv_as_typed
from testgrove.system.processes.process import run, scrubbed

_QUESTION = "import sys; print('.'.join(map(str, sys.version_info[:3])), sys.executable, sys.prefix, sep='\\n')"


@frozen
class FoundEnvironment:
    """An environment that testgrove did not make. prefix: its folder; version: of its Python, in full."""

    prefix: Path
    python: Path
    version: str

    @property
    def environ(self) -> dict[str, str]:
        """Return a command's environment: testgrove's own, scrubbed, with the programs of this environment first."""
        environ = scrubbed()
        environ["PATH"] = f"{self.python.parent}{os.pathsep}{environ.get('PATH') or os.defpath}"
        return environ | ({"VIRTUAL_ENV": str(self.prefix)} if (self.prefix / "pyvenv.cfg").is_file() else {})


def find_environment(project: Project, tree: Path, directory: str = "") -> FoundEnvironment:
    """A checkout's own `.venv`, else the active environment, else the Python on PATH.

    directory: where commands run in it; the nearest `.venv` at or above it is the one.
    Raises PreconditionError (``no-environment``; ``other-interpreter`` in a worktree of testgrove's).
    """
    worktree = project.store.worktrees.at(tree)
    if worktree is not None:
        require_environment(worktree)
    folders = [tree / folder / FOLDER for folder in ancestors(directory)]
    own = next(filter(os.path.lexists, folders), folders[0])
    variable = next((name for name in ("VIRTUAL_ENV", "CONDA_PREFIX") if os.environ.get(name)), "")
    if os.path.lexists(own):
        return _ask(own / "bin" / "python")
    if variable:
        return _ask(Path(os.environ[variable]) / "bin" / "python", variable)
    for name in ("python", "python3"):
        if found := shutil.which(name, path=scrubbed().get("PATH")):
            return _ask(Path(found))
    raise PreconditionError("no-environment", "no Python found on PATH", hint=f"{uv_as_typed()} venv {own}")


def _how_to_make(prefix: Path, variable: str) -> str:
    """The command that recreates an environment without a Python. variable: what names it; empty for `.venv`.

    Only an environment is cleared: the variable may name any folder.
    """
    path = shlex.quote(str(prefix))
    leave = f"unset {variable}" if variable else ""
    if (prefix / "pyvenv.cfg").is_file():
        make = f"{uv_as_typed()} venv --clear {path}"
    elif not os.path.lexists(prefix):
        make = f"{uv_as_typed()} venv {path}"
    else:
        return leave or f"mv {path} {path}.old && {uv_as_typed()} venv {path}"
    return f"{make}   or leave that environment: {leave}" if leave else make


def _ask(python: Path, variable: str = "") -> FoundEnvironment:
    if not python.exists():
        hint = _how_to_make(python.parent.parent, variable)
        raise PreconditionError("no-environment", f"the environment has no Python: {python} does not exist", hint=hint)
    done = run([str(python), "-I", "-c", _QUESTION], timeout=60, check=False)
    answer = done.stdout.splitlines()[-3:]
    if done.returncode != 0 or len(answer) != 3:
        why = (done.stderr.splitlines() or ["no answer"])[-1]
        raise PreconditionError("no-environment", f"cannot run {python}: {why}", hint=f"{python} -V")
    return FoundEnvironment(Path(answer[2]), Path(answer[1]), answer[0])
