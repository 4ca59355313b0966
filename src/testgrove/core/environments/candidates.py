"""Candidates for what a project's tests are installed from, where no lock says so; and the choice among them.

The order is that of all_candidates(). The first that brings pytest is chosen, unless the project's CI installs another
one that brings it; without any that brings pytest, the first that is named after tests.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from testgrove.core.environments.declared import Declared, is_pytest, read_toml
from testgrove.core.environments.foreign_groups import requirements
from testgrove.core.environments.hatch import hatch_environments
from testgrove.core.environments.install_words import InstallTargets
from testgrove.core.environments.nox import read_nox
from testgrove.core.environments.requirement_files import base_files, brings_pytest, closure, requirement_files
from testgrove.core.environments.tox import read_tox
from testgrove.core.environments.workflows import InstallLines, read_workflows
from testgrove.core.frozen import frozen

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

TEST_NAMES = ("test", "tests", "testing", "dev")
_HATCH_NAMES = ("test", "tests", "testing", "hatch-test", "dev", "default")


@frozen
class Candidate:
    """One place that may say what the tests need.

    source: as the user is told, such as ``group test``. in_ci: whether a literal install line of CI names it.
    named: whether it is named after tests.
    """

    source: str
    asked: InstallTargets
    in_ci: bool = False
    brings_pytest: bool = False
    named: bool = True


@frozen
class _Tree:
    """The known facts of a tree. lines: what its CI installs."""

    files: Mapping[str, bytes]
    declared: Declared
    lines: InstallLines

    def toml(self, name: str) -> dict[str, Any]:
        return read_toml(name, self.files.get(name, b""))


@frozen
class RejectedSource:
    """A source of dependencies that was passed over, and why."""

    source: str
    reason: str


def choose(candidates: Sequence[Candidate]) -> tuple[Candidate | None, tuple[RejectedSource, ...]]:
    """The one that is installed, and the others with the reason; None where none says anything about tests."""
    fitting = [each for each in candidates if each.brings_pytest]
    in_ci = [each for each in fitting if each.in_ci]
    named = [each for each in candidates if each.named]
    chosen = next(iter([*in_ci, *fitting, *named]), None)
    if chosen is None:
        return None, ()
    return chosen, tuple(
        RejectedSource(each.source, _reason(each, chosen, candidates))
        for each in candidates
        if _is_passed(each, chosen)
    )


def _is_passed(each: Candidate, chosen: Candidate) -> bool:
    return each.source != chosen.source and each.asked != chosen.asked and (each.named or each.brings_pytest)


def _reason(each: Candidate, chosen: Candidate, candidates: Sequence[Candidate]) -> str:
    if not each.brings_pytest and chosen.brings_pytest:
        return "does not contain pytest"
    if chosen.in_ci and not each.in_ci and candidates.index(each) < candidates.index(chosen):
        return f"CI installs {chosen.source}"
    return f"{chosen.source} comes first"


def all_candidates(files: Mapping[str, bytes], declared: Declared) -> tuple[Candidate, ...]:
    """In the order in which they count."""
    tree = _Tree(files, declared, read_workflows(files, declared.name))
    found = [
        *_foreign("Poetry group", declared.poetry_groups, tree),
        *_foreign("PDM group", declared.pdm_groups, tree),
        *_foreign("Pipfile", _pipfile(tree.toml("Pipfile")), tree),
        *_groups(tree),
        *_hatch(tree),
        *_extras(tree),
        *_tox(tree),
        *_nox(tree),
        *_requirement_files(tree),
    ]
    return tuple(each for each in found if each.asked != InstallTargets())


def _foreign(kind: str, groups: Mapping[str, tuple[str, ...]], tree: _Tree) -> Iterator[Candidate]:
    """Groups that uv does not read: their requirements are told to it one by one."""
    for name in _ordered(groups, TEST_NAMES):
        members = groups[name]
        fitting = any(map(is_pytest, members))
        yield Candidate(
            f"{kind} {name}", InstallTargets(requirements=members), name in tree.lines.groups, fitting, _named(name)
        )


def _pipfile(tables: Mapping[str, Mapping[str, object]]) -> dict[str, tuple[str, ...]]:
    """Its development packages, together with the others."""
    both = {**tables.get("packages", {}), **tables.get("dev-packages", {})}
    return {"dev": requirements(both)} if "dev-packages" in tables else {}


def _groups(tree: _Tree) -> Iterator[Candidate]:
    for name in _ordered(tree.declared.groups, TEST_NAMES):
        same = (name,) if name in tree.declared.extras else ()
        extras_in_command = _known_extras(tree.lines.extras_in_command(group=name), tree)
        fitting = tree.declared.brings_pytest(groups=[name], extras=same)
        asked = InstallTargets(groups=(name,), extras=tuple(dict.fromkeys((*same, *extras_in_command))))
        source = f"group {name}{_with_extras(extras_in_command)}"
        yield Candidate(source, asked, name in tree.lines.groups, fitting, _named(name))


def _extras(tree: _Tree) -> Iterator[Candidate]:
    for name in _ordered(tree.declared.extras, TEST_NAMES):
        if name not in tree.declared.groups:
            fitting = tree.declared.brings_pytest(extras=[name])
            yield Candidate(
                f"extra {name}", InstallTargets(extras=(name,)), name in tree.lines.extras, fitting, _named(name)
            )


def _named(name: str) -> bool:
    return name in TEST_NAMES


def _hatch(tree: _Tree) -> Iterator[Candidate]:
    tables = tree.toml("hatch.toml") or tree.toml("pyproject.toml").get("tool", {}).get("hatch", {})
    environments = hatch_environments(tables.get("envs", {}))
    for name in _ordered(environments, _HATCH_NAMES):
        one = environments[name]
        asked = InstallTargets((), one.features, one.groups, one.dependencies)
        yield _of_runner(f"Hatch environment {name}", asked, "hatch", tree, named=name in _HATCH_NAMES)


def _tox(tree: _Tree) -> Iterator[Candidate]:
    for one in read_tox(tree.files, tree.declared.name):
        yield _of_runner(f"{one.file} [{one.name}]", one.asked, "tox", tree, named=True)


def _nox(tree: _Tree) -> Iterator[Candidate]:
    sessions = {one.name: one for one in read_nox(tree.files.get("noxfile.py", b""), tree.declared.name)}
    for name in _ordered(sessions, TEST_NAMES):
        yield _of_runner(f"noxfile.py session {name}", sessions[name].asked, "nox", tree, named=_named(name))


def _of_runner(source: str, asked: InstallTargets, runner: str, tree: _Tree, *, named: bool) -> Candidate:
    """Return what a task runner installs, as far as it is there."""
    files, declared = tree.files, tree.declared
    known = replace(
        asked,
        files=tuple(name for name in asked.files if name in files),
        extras=_known_extras(asked.extras, tree),
        groups=tuple(name for name in asked.groups if name in declared.groups),
    )
    fitting = (
        any(map(is_pytest, known.requirements))
        or any(brings_pytest(name, files, declared) for name in known.files)
        or declared.brings_pytest(extras=known.extras, groups=known.groups)
    )
    return Candidate(source, known, runner in tree.lines.runners, fitting, named)


def _requirement_files(tree: _Tree) -> Iterator[Candidate]:
    known = requirement_files(tree.files)
    others = (*base_files(tree.files), *sorted(tree.lines.files & tree.files.keys()))
    for name in dict.fromkeys((*known, *others)):
        fitting = brings_pytest(name, tree.files, tree.declared)
        extras_in_command = _known_extras(tree.lines.extras_in_command(file=name), tree)
        asked = InstallTargets(files=(name,), extras=extras_in_command)
        yield Candidate(
            f"{name}{_with_extras(extras_in_command)}", asked, name in tree.lines.files, fitting, name in known
        )


def _with_extras(names: Sequence[str]) -> str:
    return f" with extras {', '.join(names)}" if names else ""


def _known_extras(names: Sequence[str], tree: _Tree) -> tuple[str, ...]:
    """Those that the project has, as far as can be told without running its setup.py."""
    return tuple(name for name in names if name in tree.declared.extras or "setup.py" in tree.files)


def _ordered(names: Mapping[str, object], first: Sequence[str]) -> list[str]:
    return [*(name for name in first if name in names), *(name for name in names if name not in first)]


def shares(one: str, other: str, files: Mapping[str, bytes]) -> bool:
    """Return whether two requirement files install a third one, or one of them the other."""
    return not closure(one, files).keys().isdisjoint(closure(other, files))
