"""Environments: the virtual environment of a worktree, made with uv."""

from __future__ import annotations

import os
import re
import shutil
import threading
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from testgrove.core.environment_plan import (
    EnvironmentPlan,
    Wish,
    decide,
    fingerprint,
    install_arguments,
    local_folders,
    mentioned,
    sources,
)
from testgrove.errors import ExhaustedError, PreconditionError, TestgroveError, UnavailableError
from testgrove.system.environment_record import FOLDER, EnvironmentRecord, check, has_distribution, observe
from testgrove.system.files import explained
from testgrove.system.process import scrubbed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from testgrove.system.interpreters import Finished, Interpreter, Run

__all__ = [
    "EnvironmentRecord",
    "ToolRun",
    "activate",
    "build",
    "check",
    "find_uv",
    "plan",
    "python_of",
    "uv_version",
]

_one_at_a_time = threading.Lock()  # uv asks sysconfig, which answers None to a second thread while it starts up
_TIMEOUT = 3600.0  # seconds for one command of uv: a large download, a long compilation
# The user's settings about where packages come from; all else of uv's is ours to say.
_KEPT = re.compile(
    r"UV_(CACHE_DIR|CONFIG_FILE|(DEFAULT_|EXTRA_|NO_)?INDEX\w*|FIND_LINKS|EXCLUDE_NEWER|TORCH_BACKEND"
    r"|LINK_MODE|KEYRING_PROVIDER|CREDENTIALS_DIR|OFFLINE|CONCURRENT_\w+|HTTP_\w+|REQUEST_TIMEOUT|NATIVE_TLS|SYSTEM_CERTS"
    r"|INSECURE_HOST|PYPY_INSTALL_MIRROR|S3_\w+|LOCK_TIMEOUT)"
)
_DECIDING = re.compile(r"UV_((DEFAULT_|EXTRA_|NO_)?INDEX(_URL)?|FIND_LINKS|EXCLUDE_NEWER|TORCH_BACKEND)")
_NO_PACKAGES = frozenset({
    "benchmarks", "build", "dist", "doc", "docs", "examples", "htmlcov", "node_modules", "test", "tests",
})  # fmt: skip


class ToolRun(Protocol):
    """Runs a long tool to its end. env: the whole environment; timeout: seconds; log: a file to append to."""

    def __call__(
        self,
        argv: Sequence[str],
        *,
        cwd: Path,
        env: Mapping[str, str],
        timeout: float,
        log: Path | None,
        check: bool,
    ) -> Finished: ...


def find_uv() -> Path:
    """The uv that came with testgrove, else the one on PATH. Raises PreconditionError (``uv-missing``)."""
    try:
        from uv import find_uv_bin  # noqa: PLC0415 - only creating an environment needs it

        with _one_at_a_time:
            return Path(find_uv_bin())
    except (ImportError, FileNotFoundError):
        if found := shutil.which("uv"):
            return Path(found)
    raise PreconditionError("uv-missing", "uv was not found", hint="pip install uv")


def uv_version(uv: Path, run: Run) -> str:
    """The version of uv, such as ``0.8.3``. Raises UnavailableError (``uv-failed``)."""
    if installed := _installed_version(uv):
        return installed
    answer = run([str(uv), "--version"], timeout=30, check=False)
    words = answer.stdout.split()
    if answer.returncode != 0 or len(words) < 2:
        raise UnavailableError("uv-failed", f"'{uv} --version' failed: {answer.stderr.strip()[:200]}")
    return words[1]


def _installed_version(uv: Path) -> str:
    """The version of a uv that was installed beside testgrove, from its metadata; empty for any other one."""
    found = list((uv.parent.parent / "lib").glob("python*/site-packages/uv-*.dist-info/RECORD"))
    if len(found) != 1:
        return ""
    info = found[0].parent
    recorded = f"../../../bin/{uv.name}," in found[0].read_text(errors="replace")
    return info.name.removeprefix("uv-").removesuffix(".dist-info") if recorded else ""


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
) -> EnvironmentPlan:
    """What the tree's environment will hold. The checkout is clean: build products are not told from code.

    extras, groups: None leaves the choice to the project. pytest: the suite needs it.
    Raises UsageError (``unknown-extra``, ``unknown-group``), PreconditionError (``environment-failed``).
    """
    wish = Wish(extras, groups, pytest)
    with explained("read the dependencies in", tree):
        files = _read(tree)
        contents = decide(files, wish)
        folders = () if contents.names == () else local_folders(files)
        facts = {
            "python": (interpreter.version, str(interpreter.path), interpreter.implementation),
            "platform": (os.uname().sysname, os.uname().machine),
            "uv": uv_version,
            "wish": asdict(wish),
            "settings": sorted(pair for pair in os.environ.items() if _DECIDING.fullmatch(pair[0])),
            "packages": [sorted(_packages(tree / folder)) for folder in folders],
        }
    return EnvironmentPlan(contents, interpreter.path, interpreter.version, tree_hash, fingerprint(files, facts))


def _read(tree: Path) -> dict[str, bytes]:
    """The files that decide, and those that they refer to, by their paths in the tree."""
    names = [entry.name for entry in os.scandir(tree)]
    if "requirements" in names and (tree / "requirements").is_dir():
        names += [f"requirements/{entry.name}" for entry in os.scandir(tree / "requirements")]
    todo = [*sources(names)]
    files: dict[str, bytes] = {}
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
    """Make the tree's environment anew, in the place of any that is there.

    temporary: a folder for uv's temporary files, made and removed here (uv leaves a lock behind for each environment).
    Raises PreconditionError (``environment-failed``: what is asked for cannot be installed), UnavailableError
    (``environment-failed``: it cannot be fetched) and ExhaustedError (``disk-full``).
    """
    folder = tree.absolute() / FOLDER
    tool = _Uv(uv, run, tree.absolute(), temporary, offline, log)
    _make_room(folder)
    with _temporary(temporary):
        notes = _fill(tool, tree, plan)
    with explained("look at", folder):
        return observe(tree, plan, notes)


def _fill(tool: _Uv, tree: Path, plan: EnvironmentPlan) -> tuple[str, ...]:
    """Make the environment and install what the plan names; return what the user is told about it."""
    base, contents = str(plan.python), plan.contents
    tool.make(tree.absolute() / FOLDER, base)
    notes = contents.notes
    if arguments := install_arguments(contents):
        python = base if contents.kind == "uv-lock" else str(python_of(tree))
        tool(*arguments, "--python", python)
    if contents.pytest and not has_distribution(tree, "pytest"):
        tool("pip", "install", "pytest", "--python", str(python_of(tree)))
        if contents.kind != "bare":
            notes += ("pytest is not among the project's dependencies: its newest version is installed too",)
    return notes


@contextmanager
def _temporary(folder: Path) -> Iterator[None]:
    with explained("make", folder):
        folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _make_room(folder: Path) -> None:
    """Remove what uv would refuse to clear, or would clear somewhere else."""
    with explained("remove", folder):
        if folder.is_symlink() or folder.is_file():
            folder.unlink()
        elif folder.is_dir() and not (folder / "pyvenv.cfg").exists():
            shutil.rmtree(folder)


class _Uv:
    """uv, at work on one tree."""

    def __init__(self, uv: Path, run: ToolRun, tree: Path, temporary: Path, offline: bool, log: Path | None) -> None:
        self._uv, self._run, self._tree, self._log = uv, run, tree, log
        self._options = ["--no-progress", "--color", "never", *(["--offline"] if offline else [])]
        theirs = scrubbed(os.environ).items()
        kept = {name: value for name, value in theirs if name[:3] != "UV_" or _KEPT.fullmatch(name)}
        self._env = {
            **kept,
            "TMPDIR": str(temporary),
            "UV_PROJECT_ENVIRONMENT": str(tree / FOLDER),
            "UV_PYTHON_DOWNLOADS": "never",
            "UV_NO_WRAP": "1",  # its words are looked for in its output
            # With a preference for its own Pythons, uv sync would replace an environment of another one.
            "UV_PYTHON_PREFERENCE": "system",
        }
        if "UV_LINK_MODE" not in kept and _device(_cache(kept)) != _device(tree):
            self._env["UV_LINK_MODE"] = "copy"

    def make(self, folder: Path, base: str) -> None:
        """Make an empty environment, with the pip that is in uv's cache: asking an index for a newer one takes as
        long as everything else."""
        arguments = ("venv", "--no-project", "--seed", "--clear", "--python", base, str(folder))
        if "--offline" not in self._options:
            with suppress(UnavailableError):
                return self(*arguments, "--offline")
        return self(*arguments)

    def __call__(self, *arguments: str) -> None:
        argv = [str(self._uv), *arguments, *self._options]
        done = self._run(argv, cwd=self._tree, env=self._env, timeout=_TIMEOUT, log=self._log, check=False)
        if done.returncode != 0:
            raise _explain(done.stdout + done.stderr, self._tree, arguments)


def _cache(env: Mapping[str, str]) -> Path:
    home = Path(env.get("XDG_CACHE_HOME") or Path(env.get("HOME") or Path.home(), ".cache"))
    return Path(env.get("UV_CACHE_DIR") or home / "uv")


def _device(path: Path) -> int:
    """The file system that a path is on, or will be on."""
    try:
        return path.stat().st_dev
    except OSError:
        return 0 if path == path.parent else _device(path.parent)


def _explain(output: str, tree: Path, arguments: Sequence[str]) -> TestgroveError:
    code, what = "environment-failed", f"uv could not make the environment of {tree}"
    message = "\n  ".join([f"{what}:", *_essence(output)])
    command = " ".join(("uv", *arguments))
    for pattern, error, hint in _FAILURES:
        if re.search(pattern, output):
            code = "disk-full" if error is ExhaustedError else code
            return error(code, message, hint=hint.format(tree=tree), tree=str(tree), command=command)
    return PreconditionError(code, message, hint=f"cd {tree} && {command}", tree=str(tree), command=command)


# What uv's output tells, the first that fits: pattern, error, hint.
_FAILURES: tuple[tuple[str, type[TestgroveError], str], ...] = (
    (r"No space left on device|os error 28\b|os error 122\b|quota exceeded", ExhaustedError, "df -h {tree}"),
    (
        r"network was disabled|connectivity is disabled|not found in the cache",
        UnavailableError,
        "run it once without --offline to fill uv's cache",
    ),
    (
        r"error sending request|dns error|Failed to (fetch|download)|[Cc]onnection (refused|reset)|timed out",
        UnavailableError,
        "check the network and the index settings; with a warm cache, --offline needs neither",
    ),
    (
        r"Python requirement|does not satisfy Python|requires-python",
        PreconditionError,
        "choose another interpreter with --python",
    ),
    (
        r"Multiple top-level (packages|modules) discovered",
        PreconditionError,
        "name its packages under [tool.setuptools], or write `package = false` under [tool.uv]",
    ),
    (r"No solution found", PreconditionError, "change the requirements that contradict one another"),
)


def _essence(output: str) -> list[str]:
    """The last error that uv reported; the middle of a long one is left out."""
    lines = [line.rstrip() for line in output.splitlines() if line.strip()]
    errors = [number for number, line in enumerate(lines) if re.match(r"error:|\s+× ", line)]
    lines = lines[errors[-1] :] if errors else lines[-12:]
    return lines if len(lines) <= 24 else [*lines[:8], "…", *lines[-15:]]
