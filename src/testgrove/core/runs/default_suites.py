"""The suites a project has when it configures none."""

from __future__ import annotations

import re
from collections.abc import Iterable

from testgrove.core.runs.plan import purpose_of
from testgrove.core.settings.types import Settings, Suite

KNOWN_FOLDERS = ("unit", "integration", "migration", "migrations", "performance", "e2e")
_TEST_FILE = re.compile(r"(test_[^/]*|[^/]*_test)\.py")


def find_suites(settings: Settings, files: Iterable[str]) -> dict[str, Suite]:
    """The configured suites; else one for each of ``tests/unit``, ``tests/integration`` …; else the tests whole.

    files: the checkout's files, relative. The tests are split only when every test stands in a folder that is known,
    so that nothing is left out. Empty when there are no tests.
    """
    if settings.suites:
        return dict(settings.suites)
    tests = [path for path in files if _TEST_FILE.fullmatch(path.rpartition("/")[2])]
    if not tests:
        return {}
    found = {part for path in tests if (part := _known_folder(path))}
    services = settings.services.engines
    if len(found) > 1 and all(_known_folder(path) for path in tests):
        return {name: _suite(f"tests/{name}", services) for name in KNOWN_FOLDERS if name in found}
    return {"tests": _suite("", services)}


def _known_folder(path: str) -> str:
    whole, _, rest = path.partition("/")
    folder = rest.partition("/")[0]
    return folder if whole == "tests" and folder in KNOWN_FOLDERS else ""


def _suite(folder: str, services: tuple[str, ...]) -> Suite:
    return Suite(command=f"pytest {folder}".rstrip(), services=services, ports=True)


def engines_for(settings: Settings, purpose: str) -> tuple[str, ...]:
    """The engines that a worktree of some purpose gets databases of: what the suites of that purpose ask for; where
    there are none, all that the project declares."""
    suites = {name: suite for name, suite in settings.suites.items() if purpose_of(name, suite) == purpose}
    asked = {engine for suite in suites.values() for engine in suite.services}
    return tuple(engine for engine in settings.services.engines if not suites or engine in asked)
