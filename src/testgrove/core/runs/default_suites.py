"""The suites a project has when it configures none."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatch
from pathlib import PurePosixPath

from testgrove.core.runs.plan import purpose_of
from testgrove.core.runs.pytest_settings import DEFAULT_FILES, PytestSettings, arguments_elsewhere, read_settings
from testgrove.core.settings.types import Settings, Suite

KNOWN_FOLDERS = ("unit", "integration", "migration", "migrations", "performance", "e2e")
DJANGO = "python manage.py test"


def find_suites(settings: Settings, files: Iterable[str], texts: Mapping[str, str] | None = None) -> dict[str, Suite]:
    """The configured suites; else one for each of ``tests/unit``, ``tests/integration`` …; else the tests whole.

    files: the checkout's files, relative. texts: of those that pytest_settings.READ names. The tests are split only
    when every test stands in a folder that is known, so that nothing is left out. Empty when there are no tests.
    """
    if settings.suites:
        return dict(settings.suites)
    files, texts = list(files), texts or {}
    found = read_settings(texts)
    services = tuple(settings.services)
    if _is_for_django(files, texts, found):
        return {"tests": _suite(DJANGO, services)}
    tests = [path for path in files if _is_test(path, found)]
    folders = {part for path in tests if (part := _known_folder(path))}
    if len(folders) > 1 and all(_known_folder(path) for path in tests):
        return {name: _suite(f"pytest tests/{name}", services) for name in KNOWN_FOLDERS if name in folders}
    command = _command(files, texts, found, tests)
    return {"tests": _suite(shlex.join(command), services)} if command else {}


def _command(
    files: Sequence[str], texts: Mapping[str, str], found: PytestSettings, tests: Sequence[str]
) -> tuple[str, ...]:
    """The command for all tests; empty where there are none."""
    paths = {*files, *(str(parent) for path in files for parent in PurePosixPath(path).parents)} - {"."}
    elsewhere = () if found.testpaths else arguments_elsewhere(texts, paths)
    if tests or found.testpaths or elsewhere:
        return ("pytest", *elsewhere)
    patterns = sorted({pattern for path in files if not found.python_files and (pattern := _of_unittest(path))})
    return ("pytest", "-o", f"python_files={' '.join(patterns)}") if patterns else ()


def _is_for_django(files: Sequence[str], texts: Mapping[str, str], found: PytestSettings) -> bool:
    """Return whether a Django project runs its tests by its own command: nothing in it is for pytest."""
    if "manage.py" not in files or "django" not in texts.get("manage.py", "").lower() or found != PytestSettings():
        return False
    names = [path.rpartition("/")[2] for path in files]
    return "conftest.py" not in names and any(fnmatch(name, "test*.py") for name in names)


def _is_test(path: str, found: PytestSettings) -> bool:
    name = path.rpartition("/")[2]
    patterns = found.python_files or DEFAULT_FILES
    return name.endswith(".py") and any(fnmatch(path if "/" in each else name, each) for each in patterns)


def _of_unittest(path: str) -> str:
    """The pattern of file names that unittest and Django have by custom, and a file fits."""
    *folders, name = path.split("/")
    if name == "tests.py" or (fnmatch(name, "test*.py") and {"test", "tests"} & set(folders)):
        return "test*.py"
    return "*_tests.py" if fnmatch(name, "*_tests.py") else ""


def _known_folder(path: str) -> str:
    whole, _, rest = path.partition("/")
    folder = rest.partition("/")[0]
    return folder if whole == "tests" and folder in KNOWN_FOLDERS else ""


def _suite(command: str, services: tuple[str, ...]) -> Suite:
    return Suite(command=command, services=services, ports=True)


def services_for(settings: Settings, purpose: str) -> tuple[str, ...]:
    """The services that a worktree of some purpose gets databases of: what the suites of that purpose ask for; where
    there are none, all that the project declares."""
    suites = {name: suite for name, suite in settings.suites.items() if purpose_of(name, suite) == purpose}
    asked = {name for suite in suites.values() for name in suite.services}
    return tuple(name for name in settings.services if not suites or name in asked)
