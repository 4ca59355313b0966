"""Environments that their users deleted, made again or replaced: noticed, and accepted where the Python is right.

What is installed in one is its user's business: it may lack pip, and hold more or less than the project asks for.
"""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from testgrove.errors import PreconditionError, UnavailableError
from testgrove.system.environment.record import FOLDER, EnvironmentRecord, is_as_made
from testgrove.system.processes.process import run, scrubbed

if TYPE_CHECKING:
    from collections.abc import Sequence

_QUESTION = "import sys; print('.'.join(map(str, sys.version_info[:3])), sys.prefix)"


def require_environment(tree: Path, record: EnvironmentRecord | None, python: str, *, mend: Sequence[str]) -> bool:
    """Return whether the user has replaced a worktree's environment. Runs nothing if not.

    record: None if testgrove's own was never completed. python: the version that the worktree was created with. mend:
    the commands that rebuild the environment, with and without an existing one.
    Raises PreconditionError (``no-environment``, ``other-interpreter``, ``two-interpreters``).
    """
    folder = tree / FOLDER
    if folder.is_symlink():
        raise _lost(f"{folder} is a link to {folder.resolve()}, outside this worktree", mend[1])
    if not (folder / "pyvenv.cfg").is_file():
        there = folder.exists()
        what = "is not a virtual environment" if there else "is missing"
        raise _lost(f"{tree} has no environment: {folder} {what}", mend[1 if there else 0])
    if record is None:
        raise _lost(f"{folder} is incomplete: the command that created it was interrupted", mend[0])
    if is_as_made(tree, record):
        return False
    version = _version(folder)
    if _minor(version) != _minor(python):
        raise PreconditionError(
            "other-interpreter",
            f"{folder} has Python {version}, but the worktree was created with {python}",
            hint=mend[1],
            found=version,
            recorded=python,
        )
    if others := [each for each in _named_versions(folder) if each != _minor(version)]:
        raise PreconditionError(
            "two-interpreters",
            f"{folder} is of two interpreters: Python {_minor(version)} runs in it, and {others[0]} was made over it",
            hint=mend[1],
        )
    return True


def _named_versions(folder: Path) -> list[str]:
    """The versions that an environment's settings and folders of packages name. ``python3.9 -m venv`` over another
    environment changes both, and installs a pip for 3.9."""
    settings = (folder / "pyvenv.cfg").read_text(errors="replace")
    named = re.search(r"^version(?:_info)?\s*=\s*(\d+\.\d+)", settings, re.MULTILINE)
    sites = sorted(site.parent.name for site in folder.glob("lib/*/site-packages"))
    found = [re.search(r"\d+\.\d+", site) for site in sites]  # of python3.13t, pypy3.11
    return [*([named[1]] if named else []), *(match[0] for match in found if match)]


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])


def _version(folder: Path) -> str:
    """Return the version that the environment's Python reports. Its pyvenv.cfg may name another one: ``python3.9 -m
    venv`` over an environment of 3.12 writes 3.9 there, but the environment stays 3.12."""
    python = folder / "bin/python"
    try:
        done = run([str(python), "-I", "-c", _QUESTION], env=scrubbed(), timeout=30, check=False)
    except (PreconditionError, UnavailableError) as error:
        raise _lost(f"cannot run {python}: {error.message}", f"rm -rf {shlex.quote(str(folder))}") from error
    last = (done.stdout.splitlines() or [""])[-1]  # before it, whatever start-up files of its packages print
    version, _, prefix = last.partition(" ")
    if done.returncode != 0 or os.path.realpath(prefix) != os.path.realpath(folder):
        raise _lost(f"{python} is not the Python of {folder}", f"rm -rf {shlex.quote(str(folder))}")
    return version


def _lost(message: str, hint: str) -> PreconditionError:
    return PreconditionError("no-environment", message, hint=hint)
