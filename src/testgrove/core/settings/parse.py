"""Parses settings from TOML into `Settings`. Errors name file, key, what was found and what was expected."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Collection
from itertools import chain
from pathlib import Path
from typing import Any

import msgspec

from testgrove.core import envfile
from testgrove.core.connections.addresses import parse_permission
from testgrove.core.environments.dependency_sets import BUILT_IN
from testgrove.core.model import check_part
from testgrove.core.naming import FIXED_VARIABLES, port_variable, url_variable
from testgrove.core.readiness import base_url
from testgrove.core.settings.directory_checks import directory_problems
from testgrove.core.settings.errors import explain
from testgrove.core.settings.process_checks import check_processes
from testgrove.core.settings.references import REFERENCE, references
from testgrove.core.settings.service_checks import service_problems
from testgrove.core.settings.service_variables import service_variables
from testgrove.core.settings.services import read_services
from testgrove.core.settings.setup_checks import setup_problems
from testgrove.core.settings.types import Dependencies, Settings, Suite
from testgrove.core.toml_lines import line_of
from testgrove.errors import UsageError

_NOT_OURS = (".", "..", ".git", ".gitignore", ".worktree-metadata.json")


def parse(text: str, source: Path, *, table: bool) -> Settings:
    """Parse the text of a ``testgrove.toml``, or of a ``pyproject.toml`` (table=True: its ``[tool.testgrove]``).

    Raises UsageError for text that is not TOML, an unknown key, a wrong type or a name that refers to nothing; it names
    the file and the line.
    """
    try:
        return _parse(text, source, table=table)
    except UsageError as error:
        raise _with_line(error, text, source) from error


def _with_line(error: UsageError, text: str, source: Path) -> UsageError:
    """The error, with the line of its key after the file."""
    line = line_of(text, str(error.details.get("key", "")))
    start = f"{source}: "
    if not line or not error.message.startswith(start):
        return error
    message = f"{source}:{line}: {error.message.removeprefix(start)}"
    return UsageError(error.code, message, hint=error.hint, **error.details | {"line": line})


def _not_toml(text: str, source: Path, error: Exception) -> UsageError:
    """The error for text that is not TOML. What tomllib finds at no line, it finds at the end."""
    at = re.search(r"\(at line (\d+), ", str(error))
    line = int(at[1]) if at else max(1, len(text.splitlines()))
    message = f"{source}:{line}: not valid TOML: {error}"
    hint = f"less +{line} {shlex.quote(str(source))}"
    return UsageError("config-syntax", message, hint=hint, file=str(source), line=line)


def _parse(text: str, source: Path, *, table: bool) -> Settings:
    try:
        data: Any = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # also numbers of thousands of digits, and deep nesting
        raise _not_toml(text, source, error) from error
    prefix = ""
    if table:
        tool = data.get("tool", {})
        if not isinstance(tool, dict):
            raise UsageError("config-wrong-type", f"{source}: 'tool': expected a table", file=str(source), key="tool")
        data, prefix = tool.get("testgrove", {}), "tool.testgrove."
    # Those come after the rest: what may stand in a service's table is its engine's to say.
    tables = data.get("services") if isinstance(data, dict) else None
    rest = {**data, "services": {}} if isinstance(tables, dict) else data
    try:
        settings = msgspec.convert(rest, Settings, strict=True)
    except msgspec.ValidationError as error:
        raise explain(rest, Settings, source, prefix, error) from error
    if isinstance(tables, dict):
        services = read_services(tables, source, f"{prefix}services.")
        settings = msgspec.structs.replace(settings, services=services)
    _check(settings, source, prefix)
    return settings


def _check(settings: Settings, source: Path, prefix: str) -> None:
    def wrong(key: str, message: str) -> UsageError:
        return UsageError("config-invalid", f"{source}: '{prefix}{key}': {message}", file=str(source), key=prefix + key)

    for key, text in (("ports.range", settings.ports.range), ("ports.servers", settings.ports.servers)):
        try:
            port_range(text)
        except ValueError as error:
            raise wrong(key, str(error)) from error
    names = settings.ports.names
    if len(set(names)) != len(names) or not names or not all(re.fullmatch(r"[a-z][a-z0-9_]*", n) for n in names):
        raise wrong("ports.names", f"expected different lower-case names, found {list(names)}")
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,100}", settings.env_file) or settings.env_file in _NOT_OURS:
        raise wrong("env_file", f"expected the name of a file at the top, found '{settings.env_file}'")
    if settings.park < 0:
        raise wrong("park", f"expected a number from 0, found {settings.park}")
    for key, problem in chain(
        setup_problems(settings.copy, settings.setup, settings.teardown), directory_problems(settings)
    ):
        raise wrong(key, problem)
    _check_connections(settings, wrong)
    known = settings.services
    for key, problem in service_problems(settings.services):
        raise wrong(f"services.{key}", problem)
    for name, suite in settings.suites.items():
        _check_suite(name, suite, known, wrong)
    _check_resources(settings, wrong)
    _check_dependencies(settings, wrong)
    _check_env(settings, source, prefix, wrong)
    check_processes(settings, _variables(settings), wrong)


def _check_connections(settings: Settings, wrong: Any) -> None:
    for text in settings.allow_connections:
        try:
            parse_permission(text)
        except ValueError as error:
            raise wrong("allow_connections", str(error)) from error


def _check_resources(settings: Settings, wrong: Any) -> None:
    for name, amount in settings.resources.items():
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,49}", name) or amount < 1:
            raise wrong(f"resources.{name}", f"expected a short name and a number from 1, found {amount}")


def _check_dependencies(settings: Settings, wrong: Any) -> None:
    for name, deps in settings.dependencies.items():
        _check_set(name, deps, wrong)
    default, known = settings.dependencies_default, (*settings.dependencies, *BUILT_IN)
    if default and default not in known:
        expected = f"expected the name of a dependency set ({', '.join(known)}), found '{default}'"
        raise wrong("dependencies_default", f"{expected}; define it in [tool.testgrove.dependencies.{default}]")


def _check_set(name: str, deps: Dependencies, wrong: Any) -> None:
    key = f"dependencies.{name}"
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,29}", name):
        raise wrong(key, "expected a name of up to 30 lower-case letters, digits, '.', '_' or '-'")
    if not (deps.resolution or deps.with_ or deps.file or deps.directory):
        raise wrong(key, "expected at least one of 'resolution', 'with', 'file' and 'directory'")
    for requirement in deps.with_:
        if not re.fullmatch(r"[A-Za-z0-9][^\n]*", requirement):
            raise wrong(f"{key}.with", f"expected a requirement such as 'django~=4.2', found {requirement!r}")
    if deps.file and (deps.file.startswith(("/", "~", "-")) or ".." in Path(deps.file).parts):
        raise wrong(f"{key}.file", f"expected the path of a file in the repository, found '{deps.file}'")


def _check_suite(name: str, suite: Suite, known: Collection[str], wrong: Any) -> None:
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,29}", name):
        raise wrong(f"suites.{name}", "expected a name of up to 30 lower-case letters, digits, '.', '_' or '-'")
    try:
        check_part("purpose", suite.purpose or "any")
    except UsageError as error:
        raise wrong(f"suites.{name}.purpose", error.message) from error
    if not suite.command.strip():
        raise wrong(f"suites.{name}.command", "expected a command, found nothing")
    for service in suite.services:
        if service not in known:
            there = ", ".join(known) or "none"
            raise wrong(f"suites.{name}.services", f"service '{service}' not found (available: {there})")
    if not 0 < suite.timeout <= 7 * 86400:
        raise wrong(f"suites.{name}.timeout", f"expected seconds between 0 and a week, found {suite.timeout:g}")
    if not 0 <= suite.retries <= 20:
        raise wrong(f"suites.{name}.retries", f"expected 0 to 20, found {suite.retries}")


def _check_env(settings: Settings, source: Path, prefix: str, wrong: Any) -> None:
    expand_env(settings.env, {}, source=f"{source}: '{prefix}env", partial=True)
    known = _variables(settings)
    for name, value in settings.env.items():
        if unknown := references(value) - known:
            raise wrong(
                f"env.{name}", f"variable '${{{min(unknown)}}}' not found (available: {', '.join(sorted(known))})"
            )
        try:
            envfile.render({name: REFERENCE.sub("x", value)})
        except UsageError as error:
            raise wrong(f"env.{name}", error.message) from error


def _variables(settings: Settings) -> set[str]:
    """The variables that a worktree can have."""
    ports = map(port_variable, settings.ports.names)
    urls = (url_variable(name) for name, process in settings.processes.items() if base_url(process.ready))
    return {*settings.env, *ports, *urls, *service_variables(settings.services), *FIXED_VARIABLES}


def port_range(text: str) -> range:
    """``low-high`` as a range. Raises ValueError with what was expected."""
    match = re.fullmatch(r"(\d+)-(\d+)", text)
    if not match or not 1024 <= int(match[1]) <= int(match[2]) <= 65535:
        raise ValueError(f"expected 'low-high' between 1024 and 65535, found '{text}'")
    return range(int(match[1]), int(match[2]) + 1)


def expand_env(values: dict[str, str], base: dict[str, str], *, source: str, partial: bool = False) -> dict[str, str]:
    """Replace ``${NAME}`` in values by each other and by base. Raises UsageError for a cycle or an unknown name.

    partial: names that neither side knows are let through (ports and databases are not leased yet).
    """
    done: dict[str, str] = {}
    table = source.rpartition("'")[2]

    def of(name: str) -> dict[str, str]:
        return {"key": f"{table}.{name}"}

    def resolve(name: str, trail: tuple[str, ...]) -> str:
        if name in trail:
            cycle = " -> ".join((*trail[trail.index(name) :], name))
            raise UsageError("config-cycle", f"{source}.{trail[0]}': circular reference: {cycle}", **of(trail[0]))
        if name in done:
            return done[name]
        if name not in values:
            if name in base:
                return base[name]
            if partial:
                return f"${{{name}}}"
            raise UsageError(
                "config-unknown-reference",
                f"{source}.{trail[-1]}': variable '${{{name}}}' not found",
                **of(trail[-1]),
                hint=f"available: {', '.join(sorted({*base, *values}))}",
            )
        done[name] = REFERENCE.sub(lambda match: resolve(match[1], (*trail, name)), values[name])
        return done[name]

    return {name: resolve(name, ()) for name in values}
