"""uv: where it is, and how it is called."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from testgrove.core.environments.locks import exported
from testgrove.core.lazy_pattern import lazy_pattern
from testgrove.errors import PreconditionError, UnavailableError
from testgrove.system.environment.record import FOLDER
from testgrove.system.environment.uv_errors import OFFLINE, essence, explain_failure
from testgrove.system.files import explained
from testgrove.system.processes.process import scrubbed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from testgrove.core.environments.locks import Export
    from testgrove.system.environment.interpreters import CompletedCommand, RunCommand

_one_at_a_time = threading.Lock()
_STARTING = 10.0  # seconds that sysconfig may take at most
_TIMEOUT = 3600.0  # seconds for one command of uv: a large download, a long compilation
# The user's settings for package sources; testgrove decides all other settings of uv.
_KEPT = lazy_pattern(
    r"UV_(CACHE_DIR|CONFIG_FILE|(DEFAULT_|EXTRA_|NO_)?INDEX\w*|FIND_LINKS|EXCLUDE_NEWER|TORCH_BACKEND"
    r"|LINK_MODE|KEYRING_PROVIDER|CREDENTIALS_DIR|OFFLINE|CONCURRENT_\w+|HTTP_\w+|REQUEST_TIMEOUT|NATIVE_TLS|SYSTEM_CERTS"
    r"|INSECURE_HOST|PYPY_INSTALL_MIRROR|S3_\w+|LOCK_TIMEOUT)"
)


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
    ) -> CompletedCommand: ...


def find_uv() -> Path:
    """The uv that came with testgrove, else the one on PATH. Raises PreconditionError (``uv-missing``)."""
    try:
        from uv import find_uv_bin  # noqa: PLC0415 - only creating an environment needs it

        with _one_at_a_time:
            _await_sysconfig()
            return Path(find_uv_bin())
    except (ImportError, FileNotFoundError):
        if found := shutil.which("uv"):
            return Path(found)
    raise PreconditionError("uv-missing", "uv not found", hint="pip install uv")


def uv_as_typed() -> str:
    """uv, as it can be typed in a shell: by its name where it is on PATH, else the one that came with testgrove."""
    if shutil.which("uv"):
        return "uv"
    with suppress(PreconditionError):
        return shlex.quote(str(find_uv()))
    return "uv"


def _await_sysconfig() -> None:
    """uv asks sysconfig, which before Python 3.12 answers None to one thread while another one, which imports a driver,
    has it start up."""
    import sysconfig  # noqa: PLC0415 - most commands do without

    deadline = time.monotonic() + _STARTING
    while sysconfig.get_config_var("EXE") is None and time.monotonic() < deadline:
        time.sleep(0.001)


def uv_version(uv: Path, run: RunCommand) -> str:
    """The version of uv, such as ``0.8.3``. Raises UnavailableError (``uv-failed``)."""
    if installed := _installed_version(uv):
        return installed
    answer = run([str(uv), "--version"], timeout=30, check=False)
    words = answer.stdout.split()
    if answer.returncode != 0 or len(words) < 2:
        raise UnavailableError("uv-failed", f"'{uv} --version' failed: {answer.stderr.strip()[:200]}")
    return words[1]


def _installed_version(uv: Path) -> str:
    """Return the version of a uv that was installed with testgrove, from its metadata; empty for any other uv."""
    found = list((uv.parent.parent / "lib").glob("python*/site-packages/uv-*.dist-info/RECORD"))
    if len(found) != 1:
        return ""
    info = found[0].parent
    recorded = f"../../../bin/{uv.name}," in found[0].read_text(errors="replace")
    return info.name.removeprefix("uv-").removesuffix(".dist-info") if recorded else ""


class Uv:
    """uv, at work on one tree.

    temporary: a folder for its temporary files, which exists when it is called. home: the project in the tree that is
    installed.
    """

    def __init__(
        self,
        uv: Path,
        run: ToolRun,
        tree: Path,
        temporary: Path,
        offline: bool,
        log: Path | None,
        *,
        home: str = "",
    ) -> None:
        self._uv, self._run, self._log = uv, run, log
        self._tree = tree / home
        self._temporary = temporary
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

    def make(self, folder: Path, base: str, *, seed: bool) -> None:
        """Make an environment that is empty, or holds a pip of its own."""
        self._from_cache(
            "venv", "--no-project", *(["--seed"] if seed else []), "--clear", "--python", base, str(folder)
        )

    def seed(self, python: Path, version: str) -> None:
        """Add what a new environment from uv lacks: pip, and the packages that old Pythons included."""
        by_custom = ["setuptools"] if tuple(map(int, version.split(".")[:2])) < (3, 12) else []
        self._from_cache("pip", "install", "pip", *by_custom, "--python", str(python))

    def _from_cache(self, *arguments: str) -> None:
        """Run uv with what is in its cache: asking an index for a newer pip takes as long as everything else."""
        if "--offline" not in self._options:
            with suppress(UnavailableError):
                self(*arguments, "--offline")
                return
        self(*arguments)

    def write(self, name: str, text: str) -> Path:
        """A file that uv is to read."""
        path = self._temporary / name
        with explained("write", path):
            path.write_text(text)
        return path

    def __call__(self, *arguments: str) -> str:
        """Run uv; what it printed. Raises what explain_failure() makes of a failure."""
        argv = [str(self._uv), *arguments, *self._options]
        done = self._run(argv, cwd=self._tree, env=self._env, timeout=_TIMEOUT, log=self._log, check=False)
        if done.returncode != 0:
            raise explain_failure(done.stdout + done.stderr, self._tree, self._to_repeat(arguments))
        return done.stdout

    def _to_repeat(self, arguments: Sequence[str]) -> str:
        """The same command for the user's own checkout, in an environment to throw away: the worktree's is undone."""
        todo, kept = list(arguments), list[str]()
        while todo:
            word = todo.pop(0)
            if word in ("--reinstall-package", "--python"):
                todo = todo[1:]
            elif word not in ("--reinstall", "--inexact"):
                kept.append(word)
        if any(str(self._temporary) in word for word in kept):
            return ""
        uv = uv_as_typed()
        if kept[:2] == ["pip", "install"]:
            return f"E=$(mktemp -d) && {uv} venv -q --clear $E && {uv} pip install --python $E {shlex.join(kept[2:])}"
        return ("UV_PROJECT_ENVIRONMENT=$(mktemp -d) " if kept[0] == "sync" else "") + f"{uv} {shlex.join(kept)}"

    def export(self, export: Export) -> Path:
        """A lock of another tool as a requirements file, written by that tool in an environment that uv caches.

        The tool runs beside copies of its files, since some write into their project.
        Raises PreconditionError (``environment-failed``), UnavailableError (``environment-failed``).
        """
        folder = self._temporary / "export"
        with explained("copy the lock to", folder):
            folder.mkdir()
            for name in filter(lambda name: (self._tree / name).is_file(), export.reads):
                shutil.copyfile(self._tree / name, folder / name)
        output = self._tool_output(export, folder)
        return self.write("exported.txt", exported(output, str(folder), str(self._tree)))

    def _tool_output(self, export: Export, folder: Path) -> str:
        first, *more = export.packages
        words = ["tool", "run", "--isolated", "--python", sys.executable, "--from", first]
        words += [word for package in more for word in ("--with", package)]
        folders = dict.fromkeys(("XDG_CACHE_HOME", "XDG_STATE_HOME", "XDG_DATA_HOME"), str(folder))
        env = {**self._env, "UV_CACHE_DIR": str(_cache(self._env)), **folders, **dict(export.environ)}
        output = ""
        for options in ([] if "--offline" in self._options else [["--offline"]]) + [[]]:
            argv = [str(self._uv), *words, *self._options, *options, "--", *export.command]
            done = self._run(argv, cwd=folder, env=env, timeout=_TIMEOUT, log=self._log, check=False)
            output = done.stdout + done.stderr
            if done.returncode == 0:
                return done.stdout
            if not OFFLINE.search(output):
                break
        failed = explain_failure(output, self._tree, "")
        if not isinstance(failed, PreconditionError):
            raise failed
        message = "\n  ".join([f"{first} could not export {export.lock}:", *essence(output)])
        raise PreconditionError(
            "environment-failed", message, hint=f"{first} lock, and commit {export.lock}", file=export.lock
        )


def _cache(env: Mapping[str, str]) -> Path:
    home = Path(env.get("XDG_CACHE_HOME") or Path(env.get("HOME") or Path.home(), ".cache"))
    return Path(env.get("UV_CACHE_DIR") or home / "uv")


def _device(path: Path) -> int:
    """The file system that a path is on, or will be on."""
    try:
        return path.stat().st_dev
    except OSError:
        return 0 if path == path.parent else _device(path.parent)
