"""The variables that services give to a worktree."""

from __future__ import annotations

from collections.abc import Mapping

from testgrove.core.engines.registry import built_in_engines, engine_of
from testgrove.core.naming import url_variable
from testgrove.core.settings.types import Service


def service_variables(services: Mapping[str, Service]) -> tuple[str, ...]:
    """All that there can be, those of our own engines in any case."""
    engines = (*built_in_engines(), *(engine_of(service.engine) for service in services.values()))
    names = (name for engine in engines for name in (engine.url_variable, *engine.variable_names))
    return tuple(dict.fromkeys((*names, *map(url_variable, services))))
