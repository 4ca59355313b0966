"""The contents of a uv.lock: all extras that go together, the default groups, all members of a workspace."""

from __future__ import annotations

from typing import TYPE_CHECKING

from testgrove.core.environments.candidates import TEST_NAMES
from testgrove.core.environments.declared import Declared, is_pytest, read_declared
from testgrove.core.environments.plan import Contents, EnvironmentRequest
from testgrove.core.environments.sources import locked_here

if TYPE_CHECKING:
    from collections.abc import Mapping


def from_uv_lock(files: Mapping[str, bytes], declared: Declared, request: EnvironmentRequest) -> Contents:
    """Return what uv installs from the lock."""
    lock = files["uv.lock"]
    all_members = "workspace" in declared.uv and len(locked_here(lock)) > 1
    whole = [declared, *(_members(files, lock) if all_members else ())]
    without = _conflicting(declared) if request.extras is None else ()
    notes = [f"extra '{name}' conflicts with another one and is not installed" for name in without]
    groups = request.groups or ()
    if (
        request.groups is None
        and request.pytest
        and not any(_default_brings_pytest(each, request.extras) for each in whole)
    ):
        groups = _test_group(whole)
        notes += [f"pytest is not in the default groups: also installing the group '{name}'" for name in groups]
    return Contents(
        "uv-lock",
        extras=request.extras,
        without=without,
        groups=groups,
        default_groups=request.groups is None,
        project="editable" if declared.installable else "dependencies",
        names=tuple(name for name, _ in locked_here(lock)),
        pytest=request.pytest,
        notes=tuple(notes),
        workspace=all_members,
        source=_source(whole, request, groups, without, all_members=all_members),
    )


def default_groups(declared: Declared) -> tuple[str, ...]:
    """The groups that uv installs where none is named."""
    default = declared.uv.get("default-groups", ["dev"])
    return tuple(declared.groups) if default == "all" else tuple(name for name in default if name in declared.groups)


def brings_pytest(declared: Declared) -> bool:
    """Return whether what uv installs of a project by itself, or one of its groups, contains pytest."""
    return _default_brings_pytest(declared, None) or bool(_test_group([declared]))


def _members(files: Mapping[str, bytes], lock: bytes) -> list[Declared]:
    """Return what the members of the workspace declare, the root left out."""
    folders = [folder for _, folder in locked_here(lock) if folder != "."]
    paths = (f"{folder}/pyproject.toml" for folder in folders)
    return [read_declared({"pyproject.toml": files[path]}) for path in paths if path in files]


def _test_group(whole: list[Declared]) -> tuple[str, ...]:
    """The first group with pytest: those named after tests first, then the others as they are declared."""
    names = dict.fromkeys((*TEST_NAMES, *(name for each in whole for name in each.groups)))
    return tuple(name for name in names if any(each.brings_pytest(groups=[name]) for each in whole))[:1]


def _default_brings_pytest(declared: Declared, extras: tuple[str, ...] | None) -> bool:
    return any(map(is_pytest, declared.dependencies)) or declared.brings_pytest(
        extras=declared.extras if extras is None else extras, groups=default_groups(declared)
    )


def _conflicting(declared: Declared) -> tuple[str, ...]:
    """Extras that cannot be installed together with a default group, or with an extra that is named before them."""
    found: list[str] = []
    for conflict in declared.uv.get("conflicts", ()):
        extras = [item["extra"] for item in conflict if "extra" in item]
        grouped = any(item.get("group") in default_groups(declared) for item in conflict)
        found += extras if grouped else extras[1:]
    return tuple(dict.fromkeys(found))


def _source(
    whole: list[Declared],
    request: EnvironmentRequest,
    groups: tuple[str, ...],
    without: tuple[str, ...],
    *,
    all_members: bool,
) -> str:
    defaults = [name for each in whole for name in default_groups(each)] if request.groups is None else []
    parts = ["uv.lock", "all packages of the workspace"] if all_members else ["uv.lock"]
    if named := ", ".join(dict.fromkeys([*defaults, *groups])):
        parts.append(f"groups {named}")
    if request.extras is None and any(each.extras for each in whole):
        parts.append(f"extras all but {', '.join(without)}" if without else "extras all")
    elif request.extras:
        parts.append(f"extras {', '.join(request.extras)}")
    return ", ".join(parts)
