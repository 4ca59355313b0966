"""Variables of services in the commands of suites: without the service, a suite would see them empty."""

from __future__ import annotations

from typing import TYPE_CHECKING

from testgrove.core.engines.registry import default_services, engine_of
from testgrove.core.lazy_pattern import lazy_pattern
from testgrove.core.naming import url_variable
from testgrove.core.settings.service_variables import service_variables

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from testgrove.core.settings.types import Service, Settings

_USED = lazy_pattern(r"\$(?:(\w+)|\{(\w+)\})")  # not ${NAME:-other}, which has a value in any case
_SET = lazy_pattern(r"(?:^|[\s;&|(])(\w+)=")


def suite_problems(settings: Settings) -> Iterator[tuple[str, str]]:
    """Yield key and problem of each suite whose command uses a variable of a service that the suite does not have."""
    known = set(service_variables(settings.services))
    for name, suite in settings.suites.items():
        set_here = {*_SET.findall(suite.command), *suite.env, *settings.env}
        used = (match[1] or match[2] for match in _USED.finditer(suite.command))
        for variable in dict.fromkeys(used):
            if variable not in known or variable in set_here:
                continue
            providers = _providers(variable, settings.services)
            if not providers & set(suite.services):
                yield f"{name}.services", _problem(variable, sorted(providers))
                break


def _providers(variable: str, services: Mapping[str, Service]) -> set[str]:
    """The services that give a variable."""
    default = default_services(services)
    return {
        name
        for name, service in services.items()
        if variable == url_variable(name)
        or (default.get(service.engine) == name and variable in engine_of(service.engine).variable_names)
    }


def _problem(variable: str, providers: list[str]) -> str:
    used = f"the command uses ${variable}, but the suite has no service that gives it"
    if providers:
        return f'{used}: add services = ["{providers[0]}"]'
    return f"{used}: declare the service in [services.NAME] and add it here"
