"""Which of a service's facts each variable of a project asks for: the lines of ``[tool.testgrove.env]``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

from testgrove.core.frozen import frozen
from testgrove.core.lazy_pattern import lazy_pattern

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from testgrove.core.engines.declaration import Engine

Fact = Literal["url", "host", "port", "user", "password", "name"]

_ENDINGS: dict[Fact, str] = {
    "url": "URL|URI|DSN|CONNECTION_STRING|CONN_STR",
    "host": "HOST|HOSTNAME|SERVER|ADDR|ADDRESS",
    "port": "PORT",
    "user": "USER|USERNAME|LOGIN",
    "password": "PASSWORD|PASSWD|PASS|PWD",
    "name": "DB|NAME|DATABASE|DBNAME|DB_NAME|DATABASE_NAME",
}
_ANY_DATABASE = ("DB", "DATABASE", "SQL", "RDS")  # they mean the first service that has migrations
_URL = lazy_pattern(r"([a-z][a-z0-9+.-]*)://[^?#]*?(?:/(\d*))?(?:[?#].*)?")


@frozen
class Asked:
    """The fact that a variable asks for. scheme: of the URL, with its driver. number: of the database in it, if it has
    one."""

    engine: str
    fact: Fact
    scheme: str = ""
    number: str = ""


def asked_of(name: str, example: str, engines: Iterable[Engine]) -> Asked | None:
    """Return the fact a variable asks for, by its name and an example of its value; None if it is no fact of a service.

    engines: of the project's services. A scheme in the example outweighs the name.
    """
    engines = tuple(engines)
    url = _URL.fullmatch(example)
    if url:
        scheme, number = url[1], url[2] or ""
        plain = scheme.partition("+")[0]
        for engine in engines:
            if plain in engine.schemes:
                return Asked(engine.name, "url", scheme, number)
        return None
    first = next((engine.name for engine in engines if engine.migrates), "")
    for engine in engines:
        if name in engine.hints.urls:
            return Asked(engine.name, "url")
        prefixes = (*engine.hints.prefixes, *(_ANY_DATABASE if engine.name == first else ()))
        for fact, endings in _ENDINGS.items():
            if prefixes and re.fullmatch(rf"(?:\w+_)?(?:{'|'.join(prefixes)})_(?:{endings})", name):
                return Asked(engine.name, fact)
    return None


def env_lines(uses: Mapping[str, str], engines: Iterable[Engine]) -> dict[str, str]:
    """The value for each variable that testgrove does not give by itself. uses: variables with an example each."""
    by_name = {engine.name: engine for engine in engines}
    found: dict[str, str] = {}
    for name, example in uses.items():
        asked = asked_of(name, example, by_name.values())
        if asked and (value := _value(name, asked, by_name[asked.engine])):
            found[name] = value
    return found


def _value(name: str, asked: Asked, engine: Engine) -> str:
    """The text with references; empty where the variable has its value already, or the service has no such fact."""
    if asked.fact != "url":
        value = engine.hints.facts.get(asked.fact, "")
        return "" if value == f"${{{name}}}" else value
    plain = not asked.scheme or (asked.scheme in engine.schemes and not engine.hints.numbered)
    plain = plain or (asked.scheme in engine.schemes and asked.number in {"", engine.default_database})
    if plain:
        return "" if name == engine.url_variable else f"${{{engine.url_variable}}}"
    facts = dict(engine.hints.facts)
    if engine.hints.numbered:
        facts["name"] = asked.number or engine.default_database
    return "{scheme}://{user}:{password}@{host}:{port}/{name}".format(scheme=asked.scheme, **facts)


def connects_without_password(uses: Mapping[str, str], engine: Engine) -> bool:
    """Return whether a project reads an engine's host, and neither its URL nor its password."""
    facts = {asked.fact for name, example in uses.items() if (asked := asked_of(name, example, [engine]))}
    return "host" in facts and not facts & {"url", "password"}
