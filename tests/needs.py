"""What tests need of the machine: without it they are skipped, or fail where TESTGROVE_REQUIRE lists it by name."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import pytest

from testgrove.errors import PreconditionError
from testgrove.system.environment.interpreters import Interpreter, available, find
from testgrove.system.processes import process


def missing(what: str, reason: str) -> NoReturn:
    """End the test. what: ``postgres``, ``redis``, ``second-python``, ``python3.9``, ``mount``, …"""
    if what in os.environ.get("TESTGROVE_REQUIRE", "").split(","):
        pytest.fail(f"TESTGROVE_REQUIRE lists {what}: {reason}")
    pytest.skip(reason)


def mount_namespace() -> tuple[str, ...]:
    """The words before a command that let it mount things which no other process sees, and that go with it."""
    user = () if os.geteuid() == 0 else ("--user", "--map-root-user")
    own = ("unshare", *user, "--mount", "--propagation", "private")
    if subprocess.run([*own, "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, check=False).returncode:
        missing("mount", "nothing can be mounted here")
    return own


def ordinary_user() -> tuple[str, ...]:
    """The words before a command that take root's permissions from it; its files stay this user's."""
    words = ("unshare", "--user", "--map-user=1000", "--")
    if os.geteuid() != 0:
        return ()
    if subprocess.run([*words, "true"], capture_output=True, check=False).returncode:
        missing("user-namespace", "root cannot be an ordinary user here")
    return words


def git_with_reftables() -> Path:
    """The folder of a git that can make reftables of a repository's refs: $TESTGROVE_TEST_GIT, or the one in PATH."""
    for folder in filter(None, (os.environ.get("TESTGROVE_TEST_GIT"), str(Path(shutil.which("git") or "").parent))):
        words = (f"{folder}/git", "refs", "migrate", "-h")
        if "--ref-format" in subprocess.run(words, capture_output=True, text=True, check=False).stdout:
            return Path(folder)
    missing("reftables", "git is older than 2.46, and TESTGROVE_TEST_GIT names no other one")


def interpreter(version: str) -> Path:
    """An interpreter of a version such as ``3.9``."""
    found = [one.path for one in _released() if _minor(one) == version]
    return found[0] if found else missing(f"python{version}", f"there is no Python {version}")


def two_versions() -> tuple[str, str]:
    """The version that runs the tests, and the nearest other one from 3.10 on, both as testgrove finds them."""
    own = sys.version_info.minor
    there = {int(_minor(one)[2:]) for one in _released()} - {own, 9}
    nearest = sorted(there, key=lambda other: (abs(other - own), -other))
    found = [version for minor in (own, *nearest) if _can_be_used(version := f"3.{minor}")][:2]
    if len(found) < 2 or found[0] != f"3.{own}":
        missing("second-python", f"of two versions of Python, there is {found or 'none'}")
    return found[0], found[1]


def _can_be_used(version: str) -> bool:
    """Names do not tell: it may be somebody else's, or one that does not run here."""
    try:
        find(version, requires=None, pinned=None, run=process.run)
    except PreconditionError:
        return False
    return True


def _released() -> list[Interpreter]:
    return [one for one in available() if one.implementation == "cpython" and one.version.replace(".", "").isdigit()]


def _minor(one: Interpreter) -> str:
    return ".".join(one.version.split(".")[:2])
