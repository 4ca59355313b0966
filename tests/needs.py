"""What tests need of the machine: without it they are skipped, or fail where TESTGROVE_REQUIRE lists it by name."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NoReturn

import pytest

from testgrove.system.interpreters import Interpreter, available


def missing(what: str, reason: str) -> NoReturn:
    """End the test. what: ``postgres``, ``redis``, ``second-python``, ``python3.9``, ``mount``, …"""
    if what in os.environ.get("TESTGROVE_REQUIRE", "").split(","):
        pytest.fail(f"TESTGROVE_REQUIRE lists {what}: {reason}")
    pytest.skip(reason)


def interpreter(version: str) -> Path:
    """An interpreter of a version such as ``3.9``."""
    found = [one.path for one in _released() if _minor(one) == version]
    return found[0] if found else missing(f"python{version}", f"there is no Python {version}")


def two_versions() -> tuple[str, str]:
    """The version that runs the tests, and the nearest other one from 3.10 on."""
    own = sys.version_info.minor
    others = {int(_minor(one)[2:]) for one in _released()} - {own, 9}
    if not others:
        missing("second-python", f"there is no Python beside 3.{own}")
    return f"3.{own}", f"3.{min(others, key=lambda other: (abs(other - own), -other))}"


def _released() -> list[Interpreter]:
    return [one for one in available() if one.implementation == "cpython" and one.version.replace(".", "").isdigit()]


def _minor(one: Interpreter) -> str:
    return ".".join(one.version.split(".")[:2])
