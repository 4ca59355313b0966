"""The Python interpreters of this machine: what is there, and which one a request means."""

from __future__ import annotations

import os
import re
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from testgrove.core.frozen import frozen
from testgrove.core.lazy_pattern import lazy_pattern
from testgrove.errors import PreconditionError, UnavailableError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

OLDEST = (3, 9)
NEWEST = "3.14"  # what to install where nothing is known to be wanted
_VERSION = r"(?P<version>3(?:\.\d+){0,2}(?:(?:a|b|rc)\d+)?)"
_REQUEST = lazy_pattern(rf"(?:(?P<kind>python|cpython|pypy)[-@]?)?{_VERSION}", re.IGNORECASE)
_FOLDER = lazy_pattern(rf"(?:(?P<kind>cpython|pypy)-)?{_VERSION}(?:-.*)?")
_AT_LEAST = lazy_pattern(r"\s*>=\s*(\d+(?:\.\d+)*)\s*")
_EXECUTABLE = lazy_pattern(r"(?P<kind>python|pypy)(?P<version>3\.\d+)")
# Valid in every Python version, to distinguish one that is too old from one that does not work.
_QUESTION = (
    "import sys; v = sys.version_info; k = {'alpha': 'a', 'beta': 'b', 'candidate': 'rc'}.get(v[3]);"
    "n = getattr(getattr(sys, 'implementation', None), 'name', 'cpython');"
    "print('%d.%d.%d%s %s' % (v[0], v[1], v[2], '%s%d' % (k, v[4]) if k else '', n))"
)


class CompletedCommand(Protocol):
    """A process that has ended."""

    @property
    def returncode(self) -> int: ...
    @property
    def stdout(self) -> str: ...
    @property
    def stderr(self) -> str: ...


class RunCommand(Protocol):
    """Runs a short command to its end; process.run is one. timeout: seconds."""

    def __call__(self, argv: Sequence[str], *, timeout: float, check: bool) -> CompletedCommand: ...


@frozen
class Interpreter:
    """A base interpreter, never a virtual environment's.

    version: ``3.12.1``, or ``3.12`` if only running it would show more. path: without symbolic links.
    implementation: ``cpython`` or ``pypy``.
    """

    version: str
    path: Path
    implementation: str

    def __str__(self) -> str:
        return self.version if self.implementation == "cpython" else f"{self.implementation}{self.version}"


def available(environ: Mapping[str, str] | None = None) -> tuple[Interpreter, ...]:
    """The interpreters from Python 3.9 on, newest first, found by looking at names: nothing is run."""
    found: dict[Path, Interpreter] = {}
    for candidate in _candidates(os.environ if environ is None else environ):
        interpreter = describe(candidate)
        if interpreter is not None and _numbers(interpreter.version) >= OLDEST:
            found.setdefault(interpreter.path, interpreter)
    return tuple(sorted(found.values(), key=lambda one: _age(one.version), reverse=True))


def find(
    request: str | None,
    *,
    requires: str | None,
    pinned: str | None,
    run: RunCommand,
    environ: Mapping[str, str] | None = None,
    default: Path | None = None,
) -> Interpreter:
    """The interpreter to use. It runs, so its version is exact.

    request: ``3.12``, ``3.12.1``, ``python3.12``, ``cpython-3.12``, a path, or None: then what `pinned` (the
    content of ``.python-version``) names, else the interpreter that runs testgrove, else the newest.
    requires: requires-python, which decides what fits. default: the one for no request, if it runs and fits.

    Raises UsageError (``invalid-python``), PreconditionError (``no-interpreter``, ``python-too-old``).
    """
    if request is not None and ("/" in request or request.startswith("~")):
        return _at_path(Path(request).expanduser(), requires, run)
    if request is None and default is not None:
        with suppress(PreconditionError):
            return _at_path(default, requires, run)
    source = " (named by .python-version)" if request is None else ""
    request = _named_by(pinned) if request is None else request.strip()
    kind, version = ("cpython", "3") if request is None else _parsed(request)
    own = [_own()] if request is None else []
    if own and _is_known(own[0]) and _fits(own[0].version, requires):
        return own[0]
    there = available(environ)
    unfit = None
    for candidate in (*own, *there):
        if candidate.implementation != kind or not _is(candidate.version, version, whole=False):
            continue
        if not _fits(candidate.version, requires):
            unfit = unfit or candidate
            continue
        checked = _run_once(candidate.path, run)
        if checked and _is(checked.version, version) and _fits(checked.version, requires):
            return checked
    if request is not None and unfit is not None:
        raise _misfit(unfit, requires, source, there)
    name = version if kind == "cpython" else kind + version
    raise _missing(name if request is not None else None, requires, source, there)


def describe(candidate: Path) -> Interpreter | None:
    """Return the base interpreter of a path, judging only by names; None if they do not show it."""
    path = _base(candidate)
    if path is None:
        return None
    named = _EXECUTABLE.fullmatch(path.name)
    for folder in (path.parent.parent.name, path.parent.parent.parent.name):
        match = _FOLDER.fullmatch(folder)
        whole = match is not None and len(_numbers(match["version"])) == 3
        if match and whole and (named is None or _is(match["version"], named["version"])):
            return Interpreter(match["version"], path, match["kind"] or "cpython")
    if named is None:
        return None
    return Interpreter(named["version"], path, "cpython" if named["kind"] == "python" else "pypy")


def _own() -> Interpreter:
    path = os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)
    return Interpreter(".".join(map(str, sys.version_info[:3])), Path(path), sys.implementation.name)


def _is_known(own: Interpreter) -> bool:
    """Return whether the interpreter that runs testgrove need not be run once more to know it."""
    return own.implementation == "cpython" and sys.version_info.releaselevel == "final" and os.access(own.path, os.X_OK)


def _run_once(path: Path, run: RunCommand) -> Interpreter | None:
    """The interpreter at a path with its exact version; None when it does not work."""
    try:
        answer = run([str(path), "-E", "-s", "-S", "-c", _QUESTION], timeout=30, check=False)
    except (PreconditionError, UnavailableError):  # not executable, or it does not end
        return None
    words = answer.stdout.split()
    return Interpreter(words[0], path, words[1]) if answer.returncode == 0 and len(words) == 2 else None


def _candidates(environ: Mapping[str, str]) -> Iterator[Path]:
    home = Path(environ.get("HOME") or Path.home())
    pyenv = Path(environ.get("PYENV_ROOT") or home / ".pyenv")
    data = Path(environ.get("XDG_DATA_HOME") or home / ".local/share")
    managed = Path(environ.get("UV_PYTHON_INSTALL_DIR") or data / "uv/python")
    on_path = [Path(folder) for folder in environ.get("PATH", "").split(os.pathsep) if folder]
    system = [Path("/usr/local/bin"), Path("/usr/bin"), *_matching(Path("/opt"), "python*/bin")]
    for folder in dict.fromkeys([*on_path, *system]):
        if folder.name != "shims":  # pyenv's run only where they are configured
            yield from _executables(folder)
    yield from _matching(pyenv, "versions/*/bin/python")
    yield from _matching(managed, "*/bin/python3")


def _matching(folder: Path, pattern: str) -> list[Path]:
    try:
        return sorted(folder.glob(pattern))
    except OSError:  # such as another user's home
        return []


def _executables(folder: Path) -> Iterator[Path]:
    try:
        names = sorted(entry.name for entry in os.scandir(folder))
    except OSError:
        return
    yield from (folder / name for name in names if name == "python3" or _EXECUTABLE.fullmatch(name))


def _base(candidate: Path) -> Path | None:
    """The real executable behind a path, out of virtual environments."""
    for _ in range(5):  # an environment may be made from an environment
        home = _home_of(candidate.parent.parent)
        if home is None:
            break
        names = (Path(os.path.realpath(candidate)).name, "python3", "python")
        candidate = next((home / name for name in names if os.access(home / name, os.X_OK)), home / "python3")
    path = Path(os.path.realpath(candidate))
    return path if os.access(path, os.X_OK) and path.is_file() else None


def _home_of(prefix: Path) -> Path | None:
    """The folder of the interpreter that a virtual environment was made from; None for any other folder."""
    try:
        text = (prefix / "pyvenv.cfg").read_text(errors="replace")
    except OSError:
        return None
    match = re.search(r"^home\s*=\s*(.+?)\s*$", text, re.MULTILINE)
    return Path(match[1]) if match else None


def _at_path(path: Path, requires: str | None, run: RunCommand) -> Interpreter:
    base = _base(path)
    checked = _run_once(base, run) if base else None
    if checked is None:
        problem = "does not run as a Python interpreter" if os.access(path, os.F_OK) else "does not exist"
        raise PreconditionError("no-interpreter", f"'{path}' {problem}", path=str(path))
    if _numbers(checked.version)[:2] < OLDEST:
        raise _too_old(checked.version)
    if not _fits(checked.version, requires):
        raise _misfit(checked, requires, "", available())
    return checked


def _named_by(pinned: str | None) -> str | None:
    """The first line of a ``.python-version`` that is a version; names of environments are not."""
    lines = (line.split("#")[0].strip() for line in (pinned or "").splitlines())
    return next((line for line in lines if _REQUEST.fullmatch(line)), None)


def _parsed(request: str) -> tuple[str, str]:
    """Implementation and version of a request."""
    match = _REQUEST.fullmatch(request)
    if match is None:
        if old := re.fullmatch(r"(?:c?python-?)?(2(?:\.\d+){0,2})", request):
            raise _too_old(old[1])
        raise UsageError(
            "invalid-python",
            f"invalid Python {request[:60]!r}",
            hint="expected a version such as 3.12, a name such as python3.12, or a path",
            value=request,
        )
    version = match["version"]
    if len(_numbers(version)) > 1 and _numbers(version)[:2] < OLDEST:
        raise _too_old(version)
    return "pypy" if (match["kind"] or "").lower() == "pypy" else "cpython", version


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", re.split(r"a|b|rc", version)[0])))


def _age(version: str) -> tuple[bool, tuple[int, ...]]:
    """Newer is greater; a pre-release comes after every release."""
    return not re.search("a|b|rc", version), _numbers(version)


def _is(version: str, wanted: str, *, whole: bool = True) -> bool:
    """Return whether a version is the wanted one, which may be a part of one. whole=False: or may turn out to be."""
    if len(_numbers(wanted)) == 3 and len(_numbers(version)) == 3:
        return version == wanted
    have, want = _numbers(version), _numbers(wanted)
    return have[: len(want)] == want or (not whole and want[: len(have)] == have)


def _fits(version: str, requires: str | None) -> bool:
    """Return whether a version, or any release of ``3.12``, fits requires-python."""
    if not requires:
        return True
    if (simple := _AT_LEAST.fullmatch(requires)) and re.fullmatch(r"[\d.]+", version):
        return _numbers(version) >= _numbers(simple[1])[: len(_numbers(version))]
    from packaging.specifiers import InvalidSpecifier, SpecifierSet  # noqa: PLC0415 - 30 ms, rarely needed

    try:
        allowed = SpecifierSet(requires)
    except InvalidSpecifier as error:
        message = f"invalid requires-python '{requires}': not a version specifier"
        raise PreconditionError("no-interpreter", message, requires=requires) from error
    releases = [version] if len(_numbers(version)) == 3 else [f"{version}.{patch}" for patch in range(40)]
    return any(allowed.contains(release, prereleases=True) for release in releases)


def _too_old(version: str) -> PreconditionError:
    oldest = ".".join(map(str, OLDEST))
    message = f"unsupported Python {version}: testgrove supports Python {oldest} and later"
    return PreconditionError("python-too-old", message, hint=f"choose a later one: --python {oldest}")


def _misfit(one: Interpreter, requires: str | None, source: str, there: Sequence[Interpreter]) -> PreconditionError:
    return PreconditionError(
        "no-interpreter",
        f"Python {one}{source} does not match requires-python '{requires}' (available: {_listed(there)})",
        hint=_choice(requires, there) or f"{_uv()} python install {NEWEST}",
        there=[str(each.path) for each in there],
    )


def _missing(name: str | None, requires: str | None, source: str, there: Sequence[Interpreter]) -> PreconditionError:
    message = f"Python {name}{source} not found" if name else "no Python found"
    if not name and requires:
        message += f" that matches requires-python '{requires}'"
    choice = _choice(requires, there)
    install = f"{_uv()} python install {name or NEWEST}"
    return PreconditionError(
        "no-interpreter",
        f"{message} (available: {_listed(there)})",
        hint=f"{choice}   or, to install it: {install}" if choice else install,
        there=[str(each.path) for each in there],
    )


def _choice(requires: str | None, there: Sequence[Interpreter]) -> str:
    """The option that chooses the newest interpreter that fits; empty where none does."""
    fitting = [one.version for one in there if one.implementation == "cpython" and _fits(one.version, requires)]
    newest = max(fitting, key=_age, default="")
    return f"--python {'.'.join(newest.split('.')[:2])}" if newest else ""


def _uv() -> str:
    from testgrove.system.environment.uv import uv_as_typed  # noqa: PLC0415 - for errors only

    return uv_as_typed()


def _listed(there: Sequence[Interpreter]) -> str:
    return ", ".join(dict.fromkeys(map(str, there))) or "none"
