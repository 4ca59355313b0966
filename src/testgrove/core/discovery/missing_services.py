"""Advice about a service that the project needs and its settings lack, from a failed command's output."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from testgrove.core.discovery.mapping import env_lines
from testgrove.core.engines.registry import built_in_engines
from testgrove.core.lazy_pattern import lazy_pattern

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from testgrove.core.engines.declaration import Engine

    Table = Callable[[str], str]  # how a table of the settings is named to the user

_UNKNOWN_HOST = lazy_pattern(
    r"could not translate host name|Name or service not known|[Tt]emporary failure in name resolution"
)
_UNREACHABLE = lazy_pattern(
    rf"[Cc]onnection refused|ECONNREFUSED|Error 111\b|[Ii]s the server running|{_UNKNOWN_HOST.pattern}"
)
_UNSET = lazy_pattern(
    r"KeyError: '([A-Z][A-Z0-9_]*)'|Set the ([A-Z][A-Z0-9_]*) environment variable"
    r"|\b([A-Z][A-Z0-9_]*) not found\. Declare|^(?:E\s+)?([A-Za-z]\w*)\n(?:E\s+)?  Field required",
    re.MULTILINE,
)


def missing_service(output: str, declared: Collection[str], table: Table) -> str:
    """Return advice about a missing server, an unset variable or a missing password.

    Empty where none of these is the cause. declared: the engines of the project's services.
    """
    engines = built_in_engines()
    lacking = [engine for engine in engines if engine.name not in declared]
    own = [engine for engine in engines if engine.name in declared]
    return _unreachable(output, lacking, table) or _unset(output, lacking, own, table) or _refused(output, own, table)


def _unreachable(output: str, engines: list[Engine], table: Table) -> str:
    if not (refused := _UNREACHABLE.search(output)):
        return ""
    unknown = _UNKNOWN_HOST.fullmatch(refused[0])
    for engine in engines:
        if engine.port and re.search(rf"\b{engine.port}\b", output):
            cause = f"the host of {engine.title} is unknown" if unknown else f"nothing listens on port {engine.port}"
            return f"{cause}: {_declare(engine, table)}"
    return ""


def _declare(engine: Engine, table: Table) -> str:
    return f"run `testgrove init`, or declare {table(f'services.{engine.name}')}"


def _unset(output: str, lacking: list[Engine], own: list[Engine], table: Table) -> str:
    for found in _UNSET.findall(output):
        name = next(filter(None, found)).upper()
        if line := env_lines({name: ""}, own).get(name):
            return f'{name} is not set: add {name} = "{line}" to {table("env")}'
        for engine in lacking:
            if name in engine.variable_names or env_lines({name: ""}, [engine]):
                return f"{name} is not set: {_declare(engine, table)}"
    return ""


def _refused(output: str, engines: list[Engine], table: Table) -> str:
    for engine in engines:
        if engine.hints.refusal and engine.hints.refusal in output:
            answer = f"{engine.title} requires a password: read it from ${engine.url_variable}"
            return f"{answer}, or set settings = {engine.hints.open_settings} in {table(f'services.{engine.name}')}"
    return ""
