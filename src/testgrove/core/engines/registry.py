"""Finding engines by their names: those that come with testgrove, then those of other distributions.

An engine of another distribution is an entry point of the group ``testgrove.engines``. Distributions are read only for
a name that is not one of ours, because reading them takes longer than most commands.
"""

from __future__ import annotations

from functools import cache, reduce
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from testgrove.core.engines.declaration import Engine
from testgrove.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from testgrove.core.settings.types import Service

GROUP = "testgrove.engines"
_FOLDER = Path(__file__).parents[2] / "services" / "engines"
# Our own: they are entry points, too, but reading those takes longer than reading one folder.
BUILT_IN = {
    file.parent.name: f"testgrove.services.engines.{file.parent.name}.declaration:ENGINE"
    for file in sorted(_FOLDER.glob("*/declaration.py"))
}

_PREFERRED = ("database", "file", "instance")


@cache
def engine_of(name: str) -> Engine:
    """The engine of that name. Raises UsageError (``unknown-engine``)."""
    where = BUILT_IN.get(name) or _installed().get(name, "")
    if not where:
        raise UsageError(
            "unknown-engine",
            f"engine '{name}' not found (available: {', '.join(known_engines())})",
            hint="install the distribution that has it into testgrove's environment",
        )
    try:
        found = load(where)
    except Exception as error:  # of another distribution
        raise UsageError("unusable-engine", f"engine '{name}' ({where}) cannot be loaded: {error}") from error
    if not isinstance(found, Engine) or found.name != name:
        raise UsageError("unusable-engine", f"engine '{name}': {where} is not the declaration of that engine")
    return found


def load(where: str) -> Any:
    """Import what ``package.module:name.of.it`` says."""
    module, _, name = where.partition(":")
    return reduce(getattr, name.split("."), import_module(module))


def _installed() -> dict[str, str]:
    """The engines of all distributions, and where they are declared."""
    from importlib import metadata  # noqa: PLC0415 - it takes longer than the rest of most commands

    return {entry.name: entry.value for entry in metadata.entry_points(group=GROUP)}


def built_in_engines() -> tuple[Engine, ...]:
    """The engines that come with testgrove."""
    return tuple(map(engine_of, BUILT_IN))


def known_engines() -> tuple[str, ...]:
    """The names of all engines that are installed."""
    return tuple(dict.fromkeys((*BUILT_IN, *sorted(_installed()))))


@cache
def implementation_of(name: str) -> Any:
    """Import and return an engine's implementation; see services.engines.protocols. Raises UsageError."""
    return load(engine_of(name).implementation)


def engine_shown(name: str, shown: Mapping[str, Any]) -> Engine:
    """The engine of a worktree's database. Before services had names of their own, it was not written down."""
    return engine_of(shown.get("engine", name))


def main_database(databases: Mapping[str, Mapping[str, Any]]) -> str:
    """The name of a worktree's database that is meant where a document has room for one: best on a shared server, else
    a file, else an instance's; of those, of the service that bears its engine's name. Empty where there is none."""
    found = [
        (_PREFERRED.index(engine.isolation), name != engine.name, str(shown["name"]))
        for name, shown in databases.items()
        for engine in (engine_shown(name, shown),)
    ]
    return min(found)[2] if found else ""


def migrated_service(services: Mapping[str, Service]) -> str | None:
    """The service that is meant where none is named: the default one of an engine that has a server and migrations."""
    for engine, name in default_services(services).items():
        declared = engine_of(engine)
        if declared.migrates and declared.isolation != "file":
            return name
    return None


def default_services(services: Mapping[str, Service]) -> dict[str, str]:
    """By engine, the service that its plain names belong to: ``DATABASE_URL``, the fixture ``database``.

    It is the one that says ``default = true``, else the one that bears the engine's name, else the only one.
    """
    found: dict[str, str] = {}
    for engine in dict.fromkeys(service.engine for service in services.values()):
        names = [name for name, service in services.items() if service.engine == engine]
        chosen = [name for name in names if services[name].default] or [name for name in names if name == engine]
        if chosen or len(names) == 1:
            found[engine] = (chosen or names)[0]
    return found
