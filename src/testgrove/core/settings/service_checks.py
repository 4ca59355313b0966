"""Checks of the services' settings that their types cannot express."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from testgrove.core.engines.registry import engine_of
from testgrove.core.lazy_pattern import lazy_pattern
from testgrove.core.naming import url_variable
from testgrove.core.server_url import parse_server_url

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from testgrove.core.engines.declaration import Engine
    from testgrove.core.settings.types import Service

_ROLE = lazy_pattern(r"(?!pg_|(?:public|none)$)[A-Za-z_][A-Za-z0-9_]{0,62}")  # others are reserved
# The readers of a URL disagree about other characters.
_PATH = lazy_pattern(r"[A-Za-z0-9._+@-]+(?:/[A-Za-z0-9._+@-]+)*")


def service_problems(services: Mapping[str, Service]) -> Iterator[tuple[str, str]]:
    """Yield key and problem of each invalid setting, without passwords."""
    for name, service in services.items():
        for key, problem in _problems(engine_of(service.engine), service):
            yield f"{name}.{key}", problem
    yield from _default_problems(services)
    files: dict[PurePosixPath, str] = {}
    for name, service in services.items():
        path = PurePosixPath(service.directory, service.path)
        if engine_of(service.engine).isolation == "file" and files.setdefault(path, name) != name:
            yield f"{name}.path", f"{path} is the file of service '{files[path]}'"
    given: dict[str, str] = {}
    for name in services:
        first = given.setdefault(url_variable(name), name)
        if first != name:
            yield name, f"its variable {url_variable(name)} is that of service '{first}'"


def _default_problems(services: Mapping[str, Service]) -> Iterator[tuple[str, str]]:
    first: dict[str, str] = {}
    for name, service in services.items():
        if service.default and first.setdefault(service.engine, name) != name:
            yield f"{name}.default", f"'{first[service.engine]}' is the default of engine {service.engine} already"


def _problems(engine: Engine, service: Service) -> Iterator[tuple[str, str]]:
    if engine.isolation == "file":
        if not _PATH.fullmatch(service.path) or {".", "..", ".git", ".venv"} & set(service.path.split("/")):
            yield "path", f"expected the path of a file in the worktree, found '{service.path}'"
        return
    versions = service.versions
    if not versions or (len(versions) > 1 and not all(re.fullmatch(r"\d+(\.\d+)*", one) for one in versions)):
        yield "version", f"expected a version such as '16', or several, found {list(versions)}"
    if wrong := [role for role in service.roles if not _ROLE.fullmatch(role)]:
        yield "roles", f"expected letters, digits and '_', and not 'pg_…', 'public' or 'none', found '{wrong[0]}'"
    if service.is_embedded:
        if service.is_shared:
            yield "isolation", "isolation 'none' requires a URL as 'host'"
    else:
        yield from _external_problems(engine, service)


def _external_problems(engine: Engine, service: Service) -> Iterator[tuple[str, str]]:
    if "external" not in engine.hosts:
        yield "host", f"{engine.title} runs embedded only"
        return
    try:
        url = parse_server_url(engine.name, service.host)
    except ValueError as error:
        plain = re.fullmatch(r"[A-Za-z0-9-]*", service.host)  # else it may contain a password
        yield "host", f"{error}, found '{service.host}'" if plain else str(error)
        return
    if engine.shared_only and not service.is_shared:
        problem = f"an external {engine.title} server has one database for all worktrees and tests"
        yield "isolation", f"{problem}; to share it, set isolation = 'none'; for one each, host = 'embedded'"
    if service.is_shared and not (url.database or engine.default_database):
        yield "host", "with isolation 'none', the URL must name the database"
    for key in ("settings", "roles", "superuser"):
        if getattr(service, key):
            yield key, f"'{key}' requires host = 'embedded': testgrove does not configure external servers"
