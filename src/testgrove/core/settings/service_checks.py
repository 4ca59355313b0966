"""What the settings of services say that cannot be, beside what their types forbid."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from testgrove.core.server_url import parse_server_url

if TYPE_CHECKING:
    from collections.abc import Iterator

    from testgrove.core.settings.types import Service, Services

# The readers of a URL disagree about other characters.
_PATH = re.compile(r"[A-Za-z0-9._+@-]+(?:/[A-Za-z0-9._+@-]+)*")


def service_problems(services: Services) -> Iterator[tuple[str, str]]:
    """Key and problem of each setting that cannot be. No password stands in them."""
    for engine, service in services.named().items():
        for key, problem in _problems(engine, service):
            yield f"{engine}.{key}", problem
    if services.sqlite:
        path = services.sqlite.path
        if not _PATH.fullmatch(path) or {".", "..", ".git", ".venv"} & set(path.split("/")):
            yield "sqlite.path", f"expected the path of a file in the worktree, found '{path}'"


def _problems(engine: str, service: Service) -> Iterator[tuple[str, str]]:
    versions = service.versions
    if not versions or (len(versions) > 1 and not all(re.fullmatch(r"\d+(\.\d+)*", one) for one in versions)):
        yield "version", f"expected a version such as '16', or several, found {list(versions)}"
    if service.host == "embedded":
        if service.isolation == "none":
            yield "isolation", "'none' means the server of a URL as it is, and 'host' names none"
        return
    try:
        url = parse_server_url(engine, service.host)
    except ValueError as error:
        plain = re.fullmatch(r"[A-Za-z0-9-]*", service.host)  # else a password may stand in it
        yield "host", f"{error}, found '{service.host}'" if plain else str(error)
        return
    if service.isolation == "none" and engine == "postgres" and not url.database:
        yield "host", "where isolation is 'none', the URL must name the database"
    if service.settings:
        yield "settings", "testgrove does not change the settings of a server that it was given by URL"
