"""Environments: the virtual environment of a worktree, made with uv."""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from testgrove.core.environments.decide import decide
from testgrove.core.environments.dependency_sets import OWN, DependencySet, Lowest
from testgrove.core.environments.dynamic_version import comes_from_git
from testgrove.core.environments.fingerprint import fingerprint
from testgrove.core.environments.home import WHOLE, Home
from testgrove.core.environments.install_commands import (
    bounded_requirements,
    direct_requirements,
    exact_versions,
    highest_arguments,
    install_arguments,
    lower_bounds,
    lowest_arguments,
    note_on_pytest,
)
from testgrove.core.environments.outside import outside
from testgrove.core.environments.plan import Contents, EnvironmentPlan, EnvironmentRequest
from testgrove.core.environments.sources import SEARCHED, local_folders, mentioned, sources
from testgrove.core.folders import joined
from testgrove.core.lazy_pattern import lazy_pattern
from testgrove.errors import PreconditionError, TestgroveError
from testgrove.system import mounts
from testgrove.system.deletion import delete_tree
from testgrove.system.environment.record import FOLDER, EnvironmentRecord, check, has_distribution, observe, version_of
from testgrove.system.environment.uv import ToolRun, Uv, find_uv, uv_version
from testgrove.system.files import explained
from testgrove.system.undeletable import require_deletable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from testgrove.system.environment.interpreters import Interpreter
    from testgrove.system.git.version import VersionSource

__all__ = [
    "EnvironmentRecord",
    "ToolRun",
    "activate",
    "build",
    "check",
    "files_of",
    "find_uv",
    "plan",
    "python_of",
    "renew_versions",
    "uv_version",
]

_DECIDING = lazy_pattern(r"UV_((DEFAULT_|EXTRA_|NO_)?INDEX(_URL)?|FIND_LINKS|EXCLUDE_NEWER|TORCH_BACKEND)")
_NO_PACKAGES = frozenset({
    "benchmarks", "build", "dist", "doc", "docs", "examples", "htmlcov", "node_modules", "test", "tests",
})  # fmt: skip


def python_of(tree: Path) -> Path:
    """The Python of a tree's environment."""
    return tree / FOLDER / "bin" / "python"


def activate(env: Mapping[str, str], tree: Path) -> dict[str, str]:
    """A copy of env in which programs of the tree's environment come first."""
    folder = tree / FOLDER
    path = env.get("PATH") or os.defpath
    kept = {name: value for name, value in env.items() if name not in {"PYTHONHOME", "VIRTUAL_ENV_PROMPT"}}
    return {**kept, "VIRTUAL_ENV": str(folder), "PATH": f"{folder / 'bin'}{os.pathsep}{path}"}


def plan(
    tree: Path,
    *,
    interpreter: Interpreter,
    extras: tuple[str, ...] | None,
    groups: tuple[str, ...] | None,
    tree_hash: str,
    uv_version: str,
    pytest: bool = True,
    deps: DependencySet = OWN,
    setup: tuple[str, ...] = (),
    home: Home = WHOLE,
    siblings: Mapping[str, str] | None = None,
) -> EnvironmentPlan:
    """Plan the content of the tree's environment. The checkout must be clean: build products look like code.

    extras, groups: None for the project's default. pytest: the suite needs it. deps: the dependency set.
    setup: the project's commands, which may install more. home: the project in the tree that is installed.
    siblings: folders beside the repository that it may depend on, with a signature of each.
    Raises UsageError (``unknown-extra``, ``unknown-group``), PreconditionError (``environment-failed``, ``no-lock``,
    ``no-requirements-file``, ``outside-repository``).
    """
    request = EnvironmentRequest(extras, groups, pytest, deps)
    with explained("read the dependencies in", tree):
        files = _read(tree / home.folder, deps.file, home.to_workspace)
        _require_siblings(tree, files, home)
        contents = decide(files, request)
        folders = () if contents.names == () else local_folders(files, home.to_workspace)
        facts = {
            "python": (interpreter.version, str(interpreter.path), interpreter.implementation),
            "platform": (os.uname().sysname, os.uname().machine),
            "uv": uv_version,
            "request": asdict(request),
            "contents": asdict(replace(contents, notes=(), source="", passed_over=())),
            "settings": sorted(pair for pair in os.environ.items() if _DECIDING.fullmatch(pair[0])),
            **_if_there(setup=setup, home=home.folder, siblings=siblings),
            "packages": [sorted(_packages(tree / home.folder / folder)) for folder in folders],
            "day": _today() if deps.resolution == "highest" else "",  # what is new is looked for once a day
        }
    mark = fingerprint(files, facts)
    versioned = tuple(joined(home.folder, folder) or "." for folder in folders if comes_from_git(files, folder))
    return EnvironmentPlan(
        contents, interpreter.path, interpreter.version, tree_hash, mark, deps.name, versioned, home.folder
    )


def _if_there(**facts: object) -> dict[str, object]:
    """The facts that say something: others leave the fingerprints of earlier versions as they are."""
    return {name: fact for name, fact in facts.items() if fact}


def _require_siblings(tree: Path, files: Mapping[str, bytes], home: Home) -> None:
    """Raise PreconditionError (``outside-repository``) for a dependency by path that leads nowhere from a worktree."""
    for path, file in outside(files, home.folder, home.to_workspace).items():
        if not (tree / path).exists():
            beside = "/".join(path.split("/")[:2])
            hint = f'[tool.testgrove] siblings = ["{beside}"]'
            if beside == "../..":
                hint = "move it into the repository, or beside it"
            message = f"{file} depends on {path}, which is outside the repository"
            raise PreconditionError("outside-repository", message, hint=hint, path=path)


def files_of(tree: Path) -> dict[str, bytes]:
    """The files of a tree that decide what is installed, by path.

    Raises PreconditionError (``environment-failed``) for files that cannot be read.
    """
    with explained("read the dependencies in", tree):
        return _read(tree, "", ".")


def _today() -> str:
    return datetime.now(UTC).date().isoformat()


def _read(tree: Path, further: str, workspace: str) -> dict[str, bytes]:
    """The files that decide, and those that they refer to, by their paths in the tree.

    further: one more, or empty. workspace: the way to the root of the uv workspace that the tree is a member of; the
    lock is there.
    """
    names = [entry.name for entry in os.scandir(tree)]
    for folder in SEARCHED:
        if (tree / folder).is_dir():
            names += [f"{folder}/{entry.name}" for entry in os.scandir(tree / folder)]
    todo = [*sources(names), *filter(None, [further])]
    files: dict[str, bytes] = {}
    if workspace != "." and (tree / workspace / "uv.lock").is_file():
        files["uv.lock"] = (tree / workspace / "uv.lock").read_bytes()
        todo += [f"{workspace}/{each}" for each in mentioned("uv.lock", files["uv.lock"])]
    while todo:
        path = os.path.normpath(todo.pop())
        if path not in files and (tree / path).is_file():
            files[path] = (tree / path).read_bytes()
            todo += mentioned(path, files[path])
    return files


def _packages(folder: Path) -> Iterator[str]:
    """The packages and modules at the top of a project: some editable installations know them by name."""
    for top in (folder, folder / "src"):
        if top.is_dir():
            yield from (entry.name for entry in os.scandir(top) if entry.name.endswith(".py"))
            yield from _below(top, depth=2)


def _below(folder: Path, depth: int) -> Iterator[str]:
    for entry in os.scandir(folder):
        if entry.name.isidentifier() and entry.name not in _NO_PACKAGES and entry.is_dir(follow_symlinks=False):
            if Path(entry.path, "__init__.py").exists():
                yield entry.path.removeprefix(f"{folder}/")
            elif depth:  # perhaps a namespace
                yield from (f"{entry.name}/{name}" for name in _below(Path(entry.path), depth - 1))


def build(
    tree: Path,
    plan: EnvironmentPlan,
    *,
    uv: Path,
    run: ToolRun,
    temporary: Path,
    offline: bool = False,
    log: Path | None = None,
) -> EnvironmentRecord:
    """Build the tree's environment, replacing an existing one.

    temporary: a folder for uv's temporary files, created and removed here (uv leaves a lock file for each
    environment). Raises PreconditionError (``environment-failed``: the requirements cannot be installed),
    UnavailableError (``environment-failed``: a download failed) and ExhaustedError (``disk-full``).
    """
    folder = tree.absolute() / FOLDER
    tool = Uv(uv, run, tree.absolute(), temporary, offline, log, home=plan.home)
    _make_room(folder)
    with _temporary(temporary):
        notes = _fill(tool, tree, plan)
    with explained("look at", folder):
        return observe(tree, plan, notes)


def renew_versions(
    tree: Path,
    plan: EnvironmentPlan,
    record: EnvironmentRecord,
    *,
    source: VersionSource,
    common_dir: Path,
    uv: Path,
    run: ToolRun,
    temporary: Path,
    offline: bool = False,
) -> EnvironmentRecord:
    """Update the versions from git, see version_from_git.renew_versions(). Other parameters as in build()."""
    from testgrove.system.environment import version_from_git  # noqa: PLC0415 - for few projects

    with _temporary(temporary):
        tool = Uv(uv, run, tree.absolute(), temporary, offline, None, home=plan.home)
        return version_from_git.renew_versions(
            tool, tree, plan, record, source=source, common_dir=common_dir, temporary=temporary
        )


def _fill(tool: Uv, tree: Path, plan: EnvironmentPlan) -> tuple[str, ...]:
    """Create the environment and install the plan's requirements; return notes for the user."""
    base, contents = str(plan.python), plan.contents
    # What is there already is preferred by uv: what a set is to choose must not come with the seeds.
    seeded = not plan.deps
    tool.make(tree.absolute() / FOLDER, base, seed=seeded)
    notes = contents.notes
    if contents.export is not None:
        contents = replace(contents, requirements=(str(tool.export(contents.export)),))
    _install(tool, base if contents.kind == "uv-lock" else str(python_of(tree)), contents)
    if contents.then is not None:
        _install(tool, str(python_of(tree)), contents.then)
    if contents.pytest and not has_distribution(tree, "pytest"):
        tool("pip", "install", "pytest", "--python", str(python_of(tree)))
        if contents.kind != "bare":
            notes += ("pytest is not in the project's dependencies: also installing its newest version",)
    if not seeded:
        tool.seed(python_of(tree), plan.python_version)
    return (*notes, *(note_on_pytest(version_of(tree, "pytest")) if contents.pytest else ()))


def _install(tool: Uv, python: str, contents: Contents) -> None:
    arguments = install_arguments(contents)
    if contents.lowest is not None:
        _install_lowest(tool, ("--python", python), contents, contents.lowest)
    elif arguments:
        tool(*arguments, "--python", python)


def _install_lowest(tool: Uv, python: tuple[str, ...], contents: Contents, lowest: Lowest) -> None:
    """Install the lowest versions of packages with a lower bound, and the newest matching versions of the others."""
    highest = ""
    if lowest.unbounded:
        direct = tool.write("direct.in", direct_requirements(contents))
        highest = tool(*highest_arguments(contents, direct), *python)
    bounds = tool.write("bounds.txt", lower_bounds(lowest, highest))
    if contents.resolution == "lowest-direct" and lowest.unbounded:
        bounded = tool.write("bounded.in", bounded_requirements(contents, lowest))
        answer = tool(*lowest_arguments(contents, bounded, bounds), *python)
        exact = tool.write("exact.txt", exact_versions(lowest, answer))
        newest = install_arguments(replace(contents, resolution="highest"))
        with suppress(PreconditionError):  # no version of the tests' tools fits the lowest ones: they give way
            tool(*newest, "--constraints", str(exact), *python)
            return
    tool(*install_arguments(contents), "--constraints", str(bounds), *python)


@contextmanager
def _temporary(folder: Path) -> Iterator[None]:
    with explained("make", folder):
        folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        with suppress(TestgroveError):
            delete_tree(folder, within=folder.parent)


def _make_room(folder: Path) -> None:
    """Remove what uv would refuse to clear, or would clear somewhere else. Raises PreconditionError
    (``mounted-inside``; ``undeletable``: a container's files, which uv would trip over half way)."""
    mounts.require_none(folder, f"cannot replace {folder}")
    require_deletable(folder, "the environment cannot be replaced")
    with explained("remove", folder):
        if folder.is_symlink() or folder.is_file():
            folder.unlink()
        elif folder.is_dir() and not (folder / "pyvenv.cfg").exists():
            delete_tree(folder, within=folder.parent)
