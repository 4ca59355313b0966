"""Checks for tables and lists in the files that are read for dependencies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_HATCH = ("dependencies", "extra-dependencies", "features", "dependency-groups")
# In pyproject.toml, tox.toml and hatch.toml; a star stands for every name. A table comes before what is in it.
_EXPECTED: tuple[tuple[str, type], ...] = (
    ("build-system", dict), ("build-system.requires", list),
    ("project", dict), ("project.dependencies", list), ("project.dynamic", list),
    ("project.optional-dependencies", dict),
    *((f"{prefix}{name}", dict) for prefix in ("", "tool.tox.") for name in ("env_run_base", "env", "env.*")),
    ("tool", dict),
    *((f"tool.{name}", dict) for name in ("hatch", "pdm", "poetry", "pytest", "setuptools", "tox", "uv")),
    ("tool.hatch.version", dict),
    *((f"{prefix}{name}", dict) for prefix in ("", "tool.hatch.") for name in ("envs", "envs.*")),
    *((f"{prefix}envs.*.{name}", list) for prefix in ("", "tool.hatch.") for name in _HATCH),
    ("tool.pdm.dev-dependencies", dict), ("tool.pdm.dev-dependencies.*", list), ("tool.pdm.version", dict),
    *((f"tool.poetry.{name}", dict) for name in ("dependencies", "dev-dependencies", "extras", "group", "group.*")),
    ("tool.poetry.group.*.dependencies", dict),
    ("tool.pytest.ini_options", dict),
    ("tool.setuptools.dynamic", dict), ("tool.setuptools.dynamic.optional-dependencies", dict),
    ("tool.uv.dev-dependencies", list),
    ("tool.uv.workspace", dict), ("tool.uv.workspace.members", list), ("tool.uv.workspace.exclude", list),
)  # fmt: skip
_WORDS: dict[type, str] = {dict: "a table", list: "a list"}


class WrongShapeError(ValueError):
    """A value is not of the kind that its key stands for."""


def check_shape(tables: Mapping[str, Any]) -> None:
    """Raises WrongShapeError, which names the key, what was expected and what was found."""
    for pattern, kind in _EXPECTED:
        for key, value in _at(tables, pattern.split(".")):
            if not isinstance(value, kind):
                found = _WORDS.get(type(value), repr(value)[:60])
                raise WrongShapeError(f"'{key}': expected {_WORDS[kind]}, found {found}")


def _at(tables: Any, parts: list[str], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The values at a path, each with its key."""
    if not isinstance(tables, dict):
        return
    name, *rest = parts
    for each in tables if name == "*" else (name,):
        if each in tables:
            key = f"{prefix}{each}"
            yield from _at(tables[each], rest, f"{key}.") if rest else ((key, tables[each]),)
