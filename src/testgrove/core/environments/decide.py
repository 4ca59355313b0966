"""The decision on what is installed: one choice from the contents of a project's files, and what was passed over.

Nothing of the project is run. In this order, the first that there is:

1. a lock: uv.lock, pylock.toml, poetry.lock, pdm.lock, Pipfile.lock;
2. what candidates.py finds: groups, Hatch's environments, extras, tox, nox, requirement files;
3. what the project needs at run time, and pytest.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from testgrove.core.environments.candidates import Candidate, RejectedSource, all_candidates, choose, shares
from testgrove.core.environments.declared import Declared, normal, read_declared
from testgrove.core.environments.dependency_sets import DependencySet, lowest
from testgrove.core.environments.foreign_locks import from_other_lock
from testgrove.core.environments.install_words import InstallTargets
from testgrove.core.environments.locks import LOCKS, find_lock
from testgrove.core.environments.plan import Contents, EnvironmentRequest, Installation, Kind
from testgrove.core.environments.requirement_files import base_files, contradiction, requirement_files
from testgrove.core.environments.uv_lock import default_groups, from_uv_lock
from testgrove.core.environments.workflows import read_workflows
from testgrove.core.lazy_pattern import lazy_pattern
from testgrove.errors import PreconditionError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_LOCAL_LINE = lazy_pattern(r"^\s*(?:-e\s|--editable[\s=]|\.{1,2}(?:/|\[|\s|$)|file:|[^#\s]+\s*@\s*file:)", re.MULTILINE)
_CONDA = ("environment.yml", "environment.yaml")


def decide(files: Mapping[str, bytes], request: EnvironmentRequest) -> Contents:
    """Choose what to install.

    Raises UsageError (``unknown-extra``, ``unknown-group``), PreconditionError for files that cannot be read and for a
    dependency set that needs what is not there (``no-lock``, ``no-requirements-file``).
    """
    declared = read_declared(files)
    dynamic = "setup.py" in files  # its extras may be computed
    _check("extra", request.extras if not dynamic else None, declared.extras)
    _check("group", request.groups, (*declared.groups, *declared.poetry_groups, *declared.pdm_groups))
    lock = find_lock(files)
    _check_set(request.deps, files, has_lock=bool(lock))
    if lock == "uv.lock":
        return _from_lock_and_set(files, declared, request)
    if lock and not request.deps.leaves_the_lock:
        locked = replace(from_other_lock(lock, files, declared, request), passed_over=_rejected_for_lock(lock, files))
        if request.deps.is_own:
            return locked
        return replace(locked, then=_with_set(_from_files(files, declared, request), files, declared, request))
    return _with_set(_from_files(files, declared, request), files, declared, request)


def _from_lock_and_set(files: Mapping[str, bytes], declared: Declared, request: EnvironmentRequest) -> Contents:
    """Return what uv.lock names, with the set over it; or, for a set that leaves the lock, what uv finds instead."""
    locked = replace(from_uv_lock(files, declared, request), passed_over=_rejected_for_lock("uv.lock", files))
    if request.deps.is_own:
        return locked
    extras = tuple(name for name in declared.extras if name not in locked.without)
    groups = (*(default_groups(declared) if locked.default_groups else ()), *locked.groups)
    own = replace(
        locked,
        kind="requirements" if request.deps.file else "pyproject",
        requirements=(request.deps.file,) if request.deps.file else (),
        extras=extras if locked.extras is None else locked.extras,
        groups=tuple(dict.fromkeys(groups)),
        default_groups=False,
        workspace=False,
        source=f"dependency set {request.deps.name}",
        passed_over=(),
    )
    free = _with_set(own, files, declared, request)
    return free if request.deps.leaves_the_lock else replace(locked, then=free)


def _rejected_for_lock(lock: str, files: Mapping[str, bytes]) -> tuple[RejectedSource, ...]:
    others = (*(name for name in LOCKS if name in files and name != lock), *requirement_files(files), *_conda(files))
    return tuple(RejectedSource(name, f"{lock} comes first") for name in others)


def _from_files(files: Mapping[str, bytes], declared: Declared, request: EnvironmentRequest) -> Contents:
    candidates = () if request.deps.file else _allowed(all_candidates(files, declared), declared, request)
    chosen, passed = choose(candidates)
    asked = chosen.asked if chosen else InstallTargets()
    base, passed_base = ((), ()) if request.deps.file else _base(files, declared, chosen)
    requirements = (request.deps.file,) if request.deps.file else tuple(dict.fromkeys((*base, *asked.files)))
    project: Installation = "none"
    if declared.installable or declared.has_project_table:
        project = "editable" if declared.installable else "dependencies"
    own_groups, more = _asked_groups(declared, request)
    groups = asked.groups if request.groups is None else own_groups
    more = (*declared.loose, *asked.requirements, *more)
    unnamed = any(_LOCAL_LINE.search(text) for text in (*_texts(files, requirements), *more))
    names = (declared.name,) if project == "editable" else ()
    kind: Kind = "requirements" if requirements else "pyproject" if groups or more or project != "none" else "bare"
    sources = [request.deps.file, chosen.source if chosen else "", *base, _PROJECT[project]]
    return Contents(
        kind, requirements, extras=asked.extras if request.extras is None else request.extras, groups=groups,
        project=project, pytest=request.pytest, names=None if unnamed or "" in names else names, more=more,
        source=", ".join(dict.fromkeys(filter(None, sources))) or "pytest alone",
        notes=_conda_notes(files) if kind == "bare" else (),
        passed_over=(*passed, *passed_base, *(RejectedSource(name, _NO_CONDA) for name in _conda(files))),
    )  # fmt: skip


_PROJECT = {"editable": "the project", "dependencies": "the project's dependencies", "none": ""}
_NO_CONDA = "conda is not supported: list its packages in a requirements file or a dependency group"


def _conda(files: Mapping[str, bytes]) -> tuple[str, ...]:
    return tuple(name for name in _CONDA if name in files)


def _conda_notes(files: Mapping[str, bytes]) -> tuple[str, ...]:
    return tuple(f"{name} is not installed: {_NO_CONDA}" for name in _conda(files))


def _texts(files: Mapping[str, bytes], names: Iterable[str]) -> list[str]:
    return [files[name].decode("utf-8", "replace") for name in names]


def _asked_groups(declared: Declared, request: EnvironmentRequest) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The groups that the settings name: those that uv reads, and the requirements of the others."""
    asked = request.groups or ()
    others = {**declared.pdm_groups, **declared.poetry_groups}
    known = {normal(name) for name in declared.groups}
    named = tuple(name for name in asked if normal(name) in known)
    return named, tuple(text for name in asked if name not in named for text in others.get(name, ()))


def _allowed(candidates: Iterable[Candidate], declared: Declared, request: EnvironmentRequest) -> tuple[Candidate, ...]:
    """The candidates without what the settings have decided."""
    groups, more = _asked_groups(declared, request)
    if declared.brings_pytest(extras=request.extras or (), groups=groups) or any("pytest" in text for text in more):
        return ()
    found = []
    for each in candidates:
        extras = each.asked.extras if request.extras is None else ()
        if request.groups is None:
            found.append(replace(each, asked=replace(each.asked, extras=extras)))
        elif not each.source.startswith(("Poetry", "PDM")):
            found.append(replace(each, asked=replace(each.asked, extras=extras, groups=())))
    return tuple(each for each in found if each.asked != InstallTargets())


def _base(
    files: Mapping[str, bytes], declared: Declared, chosen: Candidate | None
) -> tuple[tuple[str, ...], tuple[RejectedSource, ...]]:
    """The requirement file for run time that is installed as well, and why it is not."""
    found = [name for name in base_files(files) if "/" not in name or not declared.installable]
    if not found or (chosen and found[0] in chosen.asked.files):
        return (), ()
    base = found[0]
    reason = _against_base(base, files, declared, chosen)
    return ((), (RejectedSource(base, reason),)) if reason else ((base,), ())


def _against_base(base: str, files: Mapping[str, bytes], declared: Declared, chosen: Candidate | None) -> str:
    asked = chosen.asked.files if chosen else ()
    for name in asked:
        if shares(base, name, files):
            return f"{name} comes first, and installs the same files"
        if found := contradiction(base, name, files):
            return found
    lines = read_workflows(files, declared.name)
    if asked or base in lines.files or not (declared.installable and declared.has_dependencies):
        return ""
    if chosen:
        return "the project declares its own dependencies"
    return "CI installs the project, which declares its own dependencies" if lines.tree else ""


def _check_set(deps: DependencySet, files: Mapping[str, bytes], *, has_lock: bool) -> None:
    if deps.locked and not has_lock:
        message = f"the dependency set '{deps.name}' needs a lock, such as uv.lock, and there is none in this tree"
        raise PreconditionError("no-lock", message, hint="uv lock && git add uv.lock")
    if deps.file and deps.file not in files:
        message = f"{deps.file}, the file of dependency set '{deps.name}', is missing in this tree"
        raise PreconditionError("no-requirements-file", message, hint=f"git add {deps.file}", file=deps.file)


def _with_set(
    contents: Contents, files: Mapping[str, bytes], declared: Declared, request: EnvironmentRequest
) -> Contents:
    """Contents that uv resolves together with the set's requirements, and with pytest: added afterwards, it could
    replace what the set has chosen."""
    deps = request.deps
    if deps.is_own:
        return contents
    more = (*contents.more, *deps.requirements, *(("pytest",) if request.pytest else ()))
    contents = replace(contents, resolution=deps.resolution, more=more)
    if not deps.is_lowest:
        return contents
    lines = [line for text in _texts(files, contents.requirements) for line in text.splitlines()]
    tests = declared.members(contents.extras or (), contents.groups)
    return replace(contents, lowest=lowest([*more, *lines, *declared.dependencies], tests))


def _check(what: str, wanted: tuple[str, ...] | None, there: Iterable[str]) -> None:
    known = {normal(name): name for name in there}
    for name in wanted or ():
        if normal(name) not in known:
            names = ", ".join(sorted(known.values())) or "none"
            message = f"{what} '{name}' not found in the project"
            raise UsageError(f"unknown-{what}", message, hint=f"declared: {names}", name=name)
