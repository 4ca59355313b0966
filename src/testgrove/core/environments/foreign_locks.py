"""Locks of other tools than uv: pylock.toml, poetry.lock, pdm.lock, Pipfile.lock."""

from __future__ import annotations

from typing import TYPE_CHECKING

from testgrove.core.environments.candidates import TEST_NAMES
from testgrove.core.environments.declared import Declared, is_pytest, read_toml
from testgrove.core.environments.locks import export_of, takes_local
from testgrove.core.environments.plan import Contents, EnvironmentRequest, Installation

if TYPE_CHECKING:
    from collections.abc import Mapping


def from_other_lock(lock: str, files: Mapping[str, bytes], declared: Declared, request: EnvironmentRequest) -> Contents:
    """Return what is installed from a lock, and the project over it.

    Raises PreconditionError (``environment-failed``) for a pylock.toml that is not TOML.
    """
    project: Installation = "editable" if declared.installable else "none"
    names = (declared.name,) if project == "editable" else ()
    unnamed = "" in names or takes_local(lock, files[lock])
    if lock == "pylock.toml":
        return _from_pylock(files[lock], request, project, None if unnamed else names)
    groups = _poetry_groups(files, declared, request) if lock == "poetry.lock" else request.groups
    return Contents(
        "exported",
        project=project,
        names=None if unnamed else names,
        pytest=request.pytest,
        export=export_of(lock, request.extras, groups),
        source=", ".join(filter(None, [lock, _named("groups", groups), _named("extras", request.extras)])),
    )


def _named(what: str, names: tuple[str, ...] | None) -> str:
    return f"{what} all" if names is None else f"{what} {', '.join(names)}" if names else ""


def _poetry_groups(files: Mapping[str, bytes], declared: Declared, request: EnvironmentRequest) -> tuple[str, ...]:
    """The groups that Poetry installs by itself; and where pytest is in none of them, an optional one with it."""
    if request.groups is not None:
        return request.groups
    tables = read_toml("pyproject.toml", files["pyproject.toml"])["tool"].get("poetry", {}).get("group", {})
    optional = {name for name, table in tables.items() if table.get("optional")}
    members = {**declared.groups, **declared.poetry_groups}
    fitting = [name for name in members if any(map(is_pytest, members[name]))]
    chosen = [name for name in members if name not in optional]
    if not set(fitting) & set(chosen):
        chosen += sorted(fitting, key=lambda name: (name not in TEST_NAMES, name))[:1]
    return tuple(chosen)


def _from_pylock(
    content: bytes, request: EnvironmentRequest, project: Installation, names: tuple[str, ...] | None
) -> Contents:
    lock = read_toml("pylock.toml", content)
    defaults, there = lock.get("default-groups", []), lock.get("dependency-groups", [])
    groups = [name for name in TEST_NAMES if name in there][:1] if request.groups is None else request.groups
    chosen = tuple(dict.fromkeys([*(defaults if request.groups is None else ()), *groups]))
    over = Contents("pyproject", project=project, names=names, pytest=request.pytest) if project == "editable" else None
    extras = request.extras if lock.get("extras") else ()
    return Contents(
        "pylock",
        ("pylock.toml",),
        extras=extras,
        groups=chosen,
        project=project,
        names=names,
        pytest=request.pytest,
        source=", ".join(filter(None, ["pylock.toml", _named("groups", chosen), _named("extras", extras)])),
        then=over,
    )
