"""Promise 3, before a suite: would the tests import this tree?

Each of the project's names is resolved by the interpreter that will run the suite, in its environment;
nothing is imported. A name may resolve to:

1. a file in the tree (and not in an old build there);
2. a file in the worktree's environment that was installed from this tree, editable or still current;
3. nothing, when pytest itself will find it in the tree (by its ``pythonpath``, at the root or in ``src``).

Anything else is other code. The same applies to each portion of a namespace package, except that other
distributions may add portions in the environment.
"""

from __future__ import annotations

import ast
import shlex
from typing import TYPE_CHECKING, Any, Protocol

from testgrove.core.frozen import frozen
from testgrove.errors import PreconditionError
from testgrove.system.environment.uv import uv_as_typed
from testgrove.system.preflight import probe
from testgrove.system.preflight.judge import InstalledRecord, Judge, ResolvedName
from testgrove.system.preflight.names import Name, find_names, import_folders, top_level_names
from testgrove.system.processes import process

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

__all__ = ["InstalledRecord", "PreflightResult", "ResolvedName", "check", "top_level_names"]

_TIMEOUT = 60.0  # seconds; a start takes some 20 ms, but sitecustomize may do anything


class CompletedCommand(Protocol):
    """A process that has ended."""

    @property
    def returncode(self) -> int: ...
    @property
    def stdout(self) -> str: ...
    @property
    def stderr(self) -> str: ...


class RunCommand(Protocol):
    """Runs a command to its end. timeout: seconds."""

    def __call__(
        self, argv: Sequence[str], /, *, cwd: Path, env: Mapping[str, str], timeout: float
    ) -> CompletedCommand: ...


@frozen
class PreflightResult:
    """The result of a preflight. python: the full version. names: empty for a project without code of its own."""

    python: str
    names: tuple[ResolvedName, ...]


def check(
    *,
    tree: Path,
    python: Path,
    env: Mapping[str, str],
    foreign: Sequence[Path],
    run: RunCommand,
    installed: InstalledRecord | None,
    recorded_python: str = "",
    environment: Path | None = None,
    directory: str = "",
) -> PreflightResult:
    """Verify that a suite in this worktree will import this tree's code.

    python: the worktree's interpreter. env: the suite's environment. foreign: the other checkouts of the
    repository. installed: None when it is not known what the environment was made from. recorded_python: the
    version that the worktree was made with (``3.12`` or ``3.12.1``), if it is known. environment: the interpreter's,
    where it need not be the tree's own. directory: of the project in the tree that the suite belongs to.

    Raises PreconditionError: ``other-code``, ``no-environment``, ``other-interpreter``, ``preflight-failed``.
    """
    if environment is None:
        _require_environment(tree, python)
    project = tree / directory
    names = find_names(project)
    answer = _ask(python, project, env, names, run)
    folder = environment or tree / ".venv"
    _require_interpreter(answer, tree, folder.resolve(), recorded_python)
    judge = Judge(
        tree=tree,
        project=project,
        python=python,
        env=env,
        foreign=foreign,
        installed=installed,
        answer=answer,
        environment=folder,
    )
    resolved = tuple(found for name in judge.in_order(names) for found in judge.resolve(name))
    return PreflightResult(answer["version"], resolved)


class AskedAhead:
    """The question that check() asks the interpreter, asked before it is known whether its environment can stay.

    run() answers that question for check(), if it is still the same: the interpreter, the names, the folders and the
    variables. Whoever changes the environment calls close() first. Raises the errors of `process.run`.
    """

    def __init__(self, *, tree: Path, python: Path, env: Mapping[str, str], directory: str) -> None:
        project = tree / directory
        self._asked = _question(python, project, find_names(project)), project, dict(env)
        argv, cwd, env = self._asked
        self._started: process.Started | None = process.Started(argv, cwd=cwd, env=env)

    def run(self, argv: Sequence[str], /, *, cwd: Path, env: Mapping[str, str], timeout: float) -> CompletedCommand:
        """Implement RunCommand."""
        if self._started is None or (list(argv), cwd, dict(env)) != self._asked:
            return process.run(argv, cwd=cwd, env=env, timeout=timeout, check=False)
        done = self._started.finish(timeout=timeout, check=False)
        return process.Completed(done.argv, done.returncode, process.text_of(done.stdout), done.stderr)

    def close(self) -> None:
        """End the interpreter, if it still runs; from now on run() starts another one."""
        started, self._started = self._started, None
        if started is not None:
            started.close()


def _require_environment(tree: Path, python: Path) -> None:
    environment = tree / ".venv"
    if not (environment / "pyvenv.cfg").is_file():
        why = f"{tree} has no environment: {environment} is missing"
    elif environment.resolve() != tree.resolve() / ".venv":
        why = f"{environment} is a link to {environment.resolve()}, outside this worktree"
    elif environment.resolve() not in (python.parent.resolve() / python.name).parents:
        why = f"{python} is not the interpreter of {environment}"
    elif not python.is_file():
        why = f"{python} is missing, or is a broken link"
    else:
        return
    raise PreconditionError(
        "no-environment",
        why,
        hint=_how_to_make(environment),
        tree=str(tree),
        python=str(python),
    )


def _how_to_make(environment: Path, options: str = "") -> str:
    """The command that makes an environment anew. It clears nothing else, and not what a link leads to."""
    path = shlex.quote(str(environment))
    remove = f"rm {path} && " if environment.is_symlink() else ""
    clear = "--clear " if not remove and (environment / "pyvenv.cfg").is_file() else ""
    return f"{remove}{uv_as_typed()} venv {clear}{options}{path}, then reinstall the project there"


def _require_interpreter(answer: Mapping[str, Any], tree: Path, environment: Path, recorded: str) -> None:
    if not environment.samefile(answer["prefix"]):
        raise PreconditionError(
            "no-environment",
            f"the interpreter of {environment} uses another environment: {answer['prefix']}",
            hint=_how_to_make(environment),
            tree=str(tree),
        )
    version = answer["version"]
    if recorded and version.split(".")[: recorded.count(".") + 1] != recorded.split("."):
        raise PreconditionError(
            "other-interpreter",
            f"{environment} has Python {version}, but the worktree was created with {recorded}",
            hint=_how_to_make(environment, f"--python {recorded} "),
            found=version,
            recorded=recorded,
        )


def _question(python: Path, tree: Path, names: Sequence[Name]) -> list[str]:
    """The command that asks an interpreter where it would import the names from."""
    leaves = [leaf for name in names for leaf in name.leaves]
    return [str(python), probe.__file__, str(len(leaves)), *leaves, *map(str, import_folders(tree))]


def _ask(python: Path, tree: Path, env: Mapping[str, str], names: Sequence[Name], run: RunCommand) -> dict[str, Any]:
    done = run(_question(python, tree, names), cwd=tree, env=env, timeout=_TIMEOUT)
    _, mark, answer = done.stdout.rpartition(probe.MARK)
    if done.returncode != 0 or not mark:
        last = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        raise PreconditionError(
            "preflight-failed",
            f"cannot check where {python} imports the project from: {last}",
            hint=f"{python} -c 'import sys; print(sys.path)'",
            stderr=done.stderr,
        )
    found: dict[str, Any] = ast.literal_eval(answer.splitlines()[0])
    return found
