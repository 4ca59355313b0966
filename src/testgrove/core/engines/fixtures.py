"""Descriptions of the fixtures that engines declare, for the pytest plugin, which knows no engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from testgrove.core.engines.registry import engine_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from testgrove.core.engines.declaration import Fixture


def described_fixtures(engines: Iterable[str]) -> dict[str, Any]:
    """The fixtures of these engines, by engine; those without any are left out."""
    return {
        engine.name: {
            "title": engine.title,
            "variable": engine.url_variable,
            "isolations": list(engine.test_isolations),
            "emptied": engine.isolation == "instance",
            "fixtures": [_described(fixture) for fixture in engine.fixtures],
        }
        for engine in map(engine_of, dict.fromkeys(engines))
        if engine.fixtures
    }


def _described(fixture: Fixture) -> dict[str, Any]:
    """Without what is the default."""
    values = {
        "name": fixture.name,
        "value": "" if fixture.value == "{url}" else fixture.value,
        "scope": "" if fixture.scope == "session" else fixture.scope,
        "make": fixture.make,
        "keywords": dict(fixture.keywords),
        "close": fixture.close,
        "doc": fixture.doc,
    }
    return {name: value for name, value in values.items() if value}
