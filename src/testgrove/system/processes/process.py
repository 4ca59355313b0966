"""The only place that spawns.

run() is for short plumbing commands (git); system.supervision runs what must be ended as a tree.
"""

from __future__ import annotations

import errno
import functools
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, Self

from testgrove.core.frozen import frozen
from testgrove.core.secret import Secret
from testgrove.errors import PreconditionError, TestgroveError, UnavailableError
from testgrove.system.processes.deferred_signals import DeferredSignals

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Word = str | os.PathLike[str] | Secret

Child = subprocess.Popen[bytes]

# Variables that point to another project's code, repository or database. A trailing star matches anything.
SCRUBBED = (
    "GIT_*", "VIRTUAL_ENV", "VIRTUAL_ENV_PROMPT", "CONDA_PREFIX", "PYTHONPATH", "PYTHONHOME", "PYTHONPYCACHEPREFIX",
    "__PYVENV_LAUNCHER__", "UV_PROJECT_ENVIRONMENT", "DATABASE_URL", "PG*", "REDIS_*", "NEO4J_*", "MYSQL_*",
    "PYTEST_ADDOPTS", "PYTEST_PLUGINS", "PYTEST_CURRENT_TEST", "PYTEST_XDIST_*", "COV_CORE_*",
    "COVERAGE_PROCESS_START", "TESTGROVE_*",
)  # fmt: skip
# The user's settings among them.
KEPT = (
    "GIT_SSH*", "GIT_ASKPASS", "GIT_TERMINAL_PROMPT", "GIT_SSL*", "GIT_PROXY*", "GIT_CONFIG_GLOBAL",
    "GIT_CONFIG_SYSTEM", "GIT_CONFIG_NOSYSTEM", "GIT_AUTHOR_*", "GIT_COMMITTER_*", "TESTGROVE_STATE_DIR",
    "TESTGROVE_CACHE_DIR", "TESTGROVE_SCRATCH_DIR",
)  # fmt: skip
# CI sets these on purpose. git also sets them for hooks, always together with one of _HOOK.
_IDENTITY = ("GIT_AUTHOR_*", "GIT_COMMITTER_*")
_HOOK = ("GIT_INDEX_FILE", "GIT_DIR")

_PROGRAM = Path(__file__).with_name("supervisor.py")
_TAIL_LINES = 12
_DETAIL = 8000  # characters of output in an error


def scrubbed(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """A copy of an environment (by default this process's, as it was at the first call) without SCRUBBED.

    In a git hook it has no author and committer either. The bin folder of a dropped VIRTUAL_ENV leaves PATH, too.
    """
    if environ is None:
        return dict(_own_environment())
    kept = {name: value for name, value in environ.items() if _matches(name, KEPT) or not _matches(name, SCRUBBED)}
    if any(name in environ for name in _HOOK):
        kept = {name: value for name, value in kept.items() if not _matches(name, _IDENTITY)}
    if (environment := environ.get("VIRTUAL_ENV")) and "PATH" in kept:
        left = {os.path.normpath(f"{environment}/bin"), os.path.realpath(f"{environment}/bin")}
        folders = kept["PATH"].split(os.pathsep)
        kept["PATH"] = os.pathsep.join(folder for folder in folders if os.path.normpath(folder) not in left)
    return kept


@functools.cache
def _own_environment() -> dict[str, str]:
    return scrubbed(os.environ)


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(name.startswith(each[:-1]) if each[-1] == "*" else name == each for each in patterns)


class Call:
    """A command as the child gets it, and as messages show it."""

    def __init__(self, argv: Sequence[Word], env: Mapping[str, str | Secret] | None) -> None:
        environ = scrubbed() if env is None else env
        self.words = [_reveal(word) for word in argv]
        self.environ = {name: _reveal(value) for name, value in environ.items()}
        self.shown = tuple(str(word) for word in argv)
        self._secrets = [word.reveal() for word in (*argv, *environ.values()) if isinstance(word, Secret)]

    def __str__(self) -> str:
        text = " ".join(self.shown)
        return text if len(text) <= 300 else text[:297] + "..."

    def hide(self, text: str) -> str:
        """Return the text without the command's secrets, which it may have echoed."""
        for secret in self._secrets:
            text = text.replace(secret, "********") if secret else text
        return text

    def failure(self, code: str, what: str, output: str, returncode: int | None = None) -> UnavailableError:
        """what follows the command in the message; output: its last lines are shown."""
        output = self.hide(output).strip()
        message = "\n".join([f"`{self}` {what}" + (":" if output else ""), *output.splitlines()[-_TAIL_LINES:]])
        return UnavailableError(code, message, argv=list(self.shown), returncode=returncode, stderr=output[-_DETAIL:])


def _reveal(word: Word) -> str:
    return word.reveal() if isinstance(word, Secret) else str(os.fspath(word))  # not an enumeration


def not_executed(call: Call, cwd: str, number: int, what: str, missing: str) -> TestgroveError:
    """The error for a command that could not be executed. what: the step that failed; missing: a code."""
    name, reason = "".join(call.shown[:1]), os.strerror(number)
    if what == "cwd":
        return PreconditionError("cwd-missing", f"cannot run '{name}' in {cwd}: {reason}", cwd=cwd)
    if what != "command":
        return PreconditionError(f"{what}-refused", f"cannot run '{name}': its {what}: {reason}")
    if number == errno.ENOENT and (script := _script(call, cwd)):
        message = f"cannot run '{script}': the interpreter in its first line was not found"
        return PreconditionError("interpreter-missing", message, hint=f"head -1 {script}", command=name)
    if number in (errno.ENOENT, errno.ENOTDIR):
        hint = "check the path" if os.sep in name else "install it, or put it on PATH"
        return PreconditionError(missing, f"command '{name}' not found", hint=hint, command=name)
    code, hint = "command-not-executable", f"chmod +x {name}" if number == errno.EACCES else ""
    return PreconditionError(code, f"cannot execute '{name}': {reason}", hint=hint, command=name)


def _script(call: Call, cwd: str) -> Path | None:
    """The file that a command names, where there is one."""
    name = call.words[0]
    folders = [cwd] if os.sep in name else os.get_exec_path(call.environ)
    return next((path for folder in folders if (path := Path(folder, name)).is_file()), None)


@frozen
class Completed:
    """A command that has ended. argv: as messages show it; returncode: negative for a signal."""

    argv: tuple[str, ...]
    returncode: int
    stdout: str
    stderr: str


@frozen
class CompletedBytes:
    """Completed, with the output as it came."""

    argv: tuple[str, ...]
    returncode: int
    stdout: bytes
    stderr: str


def run(
    argv: Sequence[Word],
    *,
    cwd: str | Path | None = None,
    env: Mapping[str, str | Secret] | None = None,
    input: str | bytes | None = None,  # noqa: A002 - as subprocess.run names it
    timeout: float = 60.0,
    check: bool = True,
) -> Completed:
    """Run a short command and return what it wrote; bytes that are not UTF-8 become surrogates.

    env: by default scrubbed(). input: by default nothing. timeout: seconds; then its process group is killed.
    Raises PreconditionError (``tool-missing``, ``cwd-missing``, ``command-not-executable``) and
    UnavailableError (``tool-timeout``; with check, ``tool-failed`` for a status other than 0).
    """
    done = run_bytes(argv, cwd=cwd, env=env, input=input, timeout=timeout, check=check)
    return Completed(done.argv, done.returncode, text_of(done.stdout), done.stderr)


def run_bytes(
    argv: Sequence[Word],
    *,
    cwd: str | Path | None = None,
    env: Mapping[str, str | Secret] | None = None,
    input: str | bytes | None = None,  # noqa: A002 - as subprocess.run names it
    timeout: float = 60.0,
    check: bool = True,
    inherit: tuple[int, ...] = (),
) -> CompletedBytes:
    """run() for output that is not text. inherit: descriptors that the command keeps open, such as a lock's."""
    with DeferredSignals() as deferred, Started(argv, cwd=cwd, env=env, input=input, inherit=inherit) as started:
        deferred.deliver()
        return started.finish(timeout=timeout, check=check)


class Started:
    """run_bytes() in two steps: the command runs while something else is done.

    Leaving the context kills its process group, unless it has been finished. Raises the same errors.
    """

    def __init__(
        self,
        argv: Sequence[Word],
        *,
        cwd: str | Path | None = None,
        env: Mapping[str, str | Secret] | None = None,
        input: str | bytes | None = None,  # noqa: A002 - as subprocess.run names it
        inherit: tuple[int, ...] = (),
    ) -> None:
        self._call = Call(argv, env)
        self._data = input.encode(errors="surrogateescape") if isinstance(input, str) else input
        stdin = subprocess.DEVNULL if self._data is None else subprocess.PIPE
        self._process = _popen(self._call, cwd, stdin, inherit)

    def __enter__(self) -> Self:
        self._process.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def finish(self, *, timeout: float = 60.0, check: bool = True) -> CompletedBytes:
        """Wait for the command's end and return what it wrote. timeout: seconds; then its process group is killed."""
        call, process = self._call, self._process
        try:
            stdout, stderr = process.communicate(self._data, timeout)
        except subprocess.TimeoutExpired as expired:
            stderr = expired.stderr or b""
            raise call.failure("tool-timeout", f"timed out after {timeout:g} s", text_of(stderr)) from None
        finally:
            self._kill()
        errors = text_of(stderr)
        if check and process.returncode != 0:
            output = errors or text_of(stdout)
            raise call.failure("tool-failed", ending_of(process.returncode), output, process.returncode)
        return CompletedBytes(call.shown, process.returncode, stdout, errors)

    def close(self) -> None:
        """Kill the command's process group, unless it has been finished."""
        self._kill()
        self._process.__exit__(None, None, None)  # closes its pipes, and waits

    def _kill(self) -> None:
        if self._process.returncode is None:  # not reaped, so the group's number is still its own
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)


def _popen(call: Call, cwd: str | Path | None, stdin: int, inherit: tuple[int, ...]) -> subprocess.Popen[bytes]:
    """Start in a new session: no terminal for password prompts, and Ctrl-C is handled by this process."""
    try:
        return subprocess.Popen(
            call.words,
            cwd=cwd,
            env=call.environ,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            pass_fds=inherit,
        )
    except OSError as error:
        what = "cwd" if cwd is not None and error.filename == cwd else "command"
        number = error.errno or errno.EIO
        raise not_executed(call, str(cwd or "."), number, what, "tool-missing") from error
    except ValueError as error:
        raise PreconditionError("argument-invalid", f"cannot run `{call}`: {error}") from None


def text_of(data: bytes) -> str:
    return data.decode(errors="surrogateescape")


def ending_of(returncode: int) -> str:
    return f"exited with status {returncode}" if returncode >= 0 else f"was killed by signal {-returncode}"


def spawn_supervisor(mark: str, streams: tuple[int, ...] = ()) -> Child:
    """Start supervisor.py, which is controlled through its pipes. mark: of its processes.

    streams: descriptors for a job in the foreground, on this process's terminal.
    """
    utf8 = f"utf8={sys.flags.utf8_mode}"  # file names must mean the same on both sides
    argv = [sys.executable, "-I", "-S", "-X", utf8, str(_PROGRAM), mark]
    pipe, apart = subprocess.PIPE, not streams
    return subprocess.Popen(argv, bufsize=0, stdin=pipe, stdout=pipe, pass_fds=streams, start_new_session=apart)


def spawn_left_alone(argv: Sequence[str], *, env: Mapping[str, str], log: Path) -> Child:
    """Start a process that is to live on when this one ends. log: what it writes is appended to it."""
    with log.open("ab") as output:
        return subprocess.Popen(
            argv, cwd="/", env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )


def restart_in_utf8() -> NoReturn:
    """Restart this program with UTF-8 file names, so that files can contain all paths in any locale."""
    os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])  # noqa: S606 - no shell is wanted


def open_in_browser(page: Path) -> bool:
    """Show a file in $BROWSER, or in a desktop's browser; whether there is one. It is the user's, and stays."""
    if not any(os.environ.get(name) for name in ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY")):
        return False
    import webbrowser  # noqa: PLC0415 - for one command

    return webbrowser.open(page.as_uri())


def replace_process(argv: Sequence[str], *, cwd: Path, env: Mapping[str, str]) -> NoReturn:
    """Become another program. Raises PreconditionError (``cwd-missing``) and ends with 126 or 127, as env(1) does,
    where the program cannot be executed or is not found."""
    try:
        os.chdir(cwd)
    except OSError as error:
        raise PreconditionError("cwd-missing", f"cannot enter {cwd}: {error.strerror}") from error
    for ignored in (signal.SIGPIPE, signal.SIGXFSZ):  # by Python, and exec keeps what is ignored
        signal.signal(ignored, signal.SIG_DFL)
    try:
        os.execvpe(argv[0], list(argv), dict(env))  # noqa: S606 - no shell is wanted
    except OSError as error:
        sys.stderr.write(f"testgrove exec: {argv[0]}: {error.strerror}\n")
        raise SystemExit(127 if isinstance(error, FileNotFoundError) else 126) from None
