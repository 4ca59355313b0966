"""Rules for the settings of application processes, and for the suites that need them."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

from testgrove.core.naming import FIXED_VARIABLES, port_variable, url_variable
from testgrove.core.readiness import parse_ready
from testgrove.core.settings.references import REFERENCE, references
from testgrove.core.settings.service_variables import service_variables
from testgrove.core.settings.suite_services import suite_problems

if TYPE_CHECKING:
    from testgrove.core.settings.types import Process, Settings
    from testgrove.errors import UsageError

    Wrong = Callable[[str, str], UsageError]

_LONGEST = 3600.0


def check_processes(settings: Settings, known: Collection[str], wrong: Wrong) -> None:
    """Raise what wrong() makes of the first key that does not hold. known: the variables a worktree can have."""
    owner: dict[str, str] = dict.fromkeys((*service_variables(settings.services), *FIXED_VARIABLES), "testgrove itself")
    for name, process in settings.processes.items():
        if not re.fullmatch(r"[a-z][a-z0-9_-]{0,29}", name):
            raise wrong(f"processes.{name}", "expected a name of up to 30 lower-case letters, digits, '_' or '-'")
        variable = url_variable(name)
        if variable in owner:
            raise wrong(f"processes.{name}", f"its variable {variable} is already used by {owner[variable]}")
        owner[variable] = f"process '{name}'"
        _check_process(f"processes.{name}", process, known, wrong)
    for name in settings.suites:
        _check_suite(name, settings, wrong)
    for key, problem in suite_problems(settings):
        raise wrong(f"suites.{key}", problem)


def _check_process(key: str, process: Process, known: Collection[str], wrong: Wrong) -> None:
    if not process.command.strip():
        raise wrong(f"{key}.command", "expected a command, found nothing")
    if not 0 < process.timeout <= _LONGEST:
        raise wrong(f"{key}.timeout", f"expected seconds between 0 and {_LONGEST:g}, found {process.timeout:g}")
    address = process.ready.startswith(("http:", "tcp:"))
    if address and (unknown := references(process.ready) - set(known)):
        raise wrong(f"{key}.ready", f"variable '${{{min(unknown)}}}' not found (available: {', '.join(sorted(known))})")
    try:
        parse_ready(REFERENCE.sub("1", process.ready) if address else process.ready)
    except ValueError as error:
        raise wrong(f"{key}.ready", str(error)) from error


def _check_suite(name: str, settings: Settings, wrong: Wrong) -> None:
    suite, there = settings.suites[name], settings.processes
    key = f"suites.{name}.processes"
    ports = set(map(port_variable, settings.ports.names))
    for process in suite.processes:
        if process not in there:
            raise wrong(key, f"process '{process}' not found (available: {', '.join(there) or 'none'})")
        if suite.processes.count(process) > 1:
            raise wrong(key, f"duplicate process '{process}'")
        needed = references(f"{there[process].command} {there[process].ready}") & ports
        if needed and not suite.ports:
            raise wrong(key, f"process '{process}' uses ${{{min(needed)}}}, so the suite needs 'ports = true'")
