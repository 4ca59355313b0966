"""Hatch's environments, as far as they say what is installed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from testgrove.core.frozen import frozen

if TYPE_CHECKING:
    from collections.abc import Mapping

_OF_HATCH_TEST = ("pytest",)  # what `hatch test` always brings


@frozen
class HatchEnvironment:
    """The contents of an environment beside the project. features: the project's extras."""

    dependencies: tuple[str, ...]
    features: tuple[str, ...]
    groups: tuple[str, ...]


def hatch_environments(tables: Mapping[str, Any]) -> dict[str, HatchEnvironment]:
    """Those in the ``envs`` table of ``[tool.hatch]``, each with what it takes from its template."""
    return {name: _environment(name, tables) for name in tables}


def _environment(name: str, tables: Mapping[str, Any]) -> HatchEnvironment:
    merged: dict[str, Any] = {}
    for table in _chain(name, tables):
        extra = [*merged.get("extra-dependencies", ()), *table.get("extra-dependencies", ())]
        merged = {**merged, **table, "extra-dependencies": extra}
    dependencies = [*merged.get("dependencies", ()), *merged["extra-dependencies"]]
    if name == "hatch-test" and "dependencies" not in merged:
        dependencies += _OF_HATCH_TEST
    return HatchEnvironment(
        tuple(map(str, dependencies)), tuple(merged.get("features", ())), tuple(merged.get("dependency-groups", ()))
    )


def _chain(name: str, tables: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """An environment's table after those of its templates."""
    chain: list[Mapping[str, Any]] = []
    seen = set()
    while name not in seen and name in tables:
        seen.add(name)
        chain.insert(0, tables[name])
        detached = tables[name].get("detached") or name == "hatch-test"
        name = str(tables[name].get("template", name if detached else "default"))
    return chain
