"""Scenarios resolved: a `Scenario` names its dependencies, a `PlannedScenario` holds them.

What a plan holds is known to be there, has no circle, and fits the configuration: who runs it cannot meet a bad name.
"""

from __future__ import annotations

import difflib
import fnmatch
import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from testgrove.core.frozen import frozen
from testgrove.core.scenarios.file import LocatedScenario, problem
from testgrove.core.text import some
from testgrove.errors import UsageError


@dataclass(frozen=True, eq=False)  # as values, they would be compared along every path of the graph
class PlannedScenario:
    """A scenario whose names are resolved. needs: those it waits for. left_out: dependencies that it does without.
    resources: how much it takes of each. ref, python: for its worktree, where that is to be made. line: in its file."""

    name: str
    worktree: str
    command: str
    needs: tuple[PlannedScenario, ...] = field(default=(), repr=False)
    left_out: tuple[str, ...] = ()
    description: str = ""
    timeout: float = 300.0
    tags: tuple[str, ...] = ()
    retries: int = 0
    resources: Mapping[str, int] = field(default_factory=dict)
    shareable: bool = False
    exclusive: bool = False
    always: bool = False
    ref: str = ""
    python: str = ""
    services: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    line: int = 0


@frozen
class ScenarioPlan:
    """The scenarios that would run. scenarios: each after those that it needs, else as the file has them. source: the
    file."""

    source: Path
    scenarios: tuple[PlannedScenario, ...]

    @property
    def worktrees(self) -> dict[str, tuple[PlannedScenario, ...]]:
        """The scenarios of each worktree."""
        found: dict[str, list[PlannedScenario]] = {}
        for scenario in self.scenarios:
            found.setdefault(scenario.worktree, []).append(scenario)
        return {name: tuple(each) for name, each in found.items()}

    @property
    def left_out(self) -> dict[str, tuple[str, ...]]:
        """The dependencies that scenarios do without, by scenario."""
        return {each.name: each.left_out for each in self.scenarios if each.left_out}


@frozen
class Filters:
    """The selection of scenarios: every kind of filter must match, with any of its values.

    patterns: globs, or parts of the name. dependencies: also select what the chosen scenarios need."""

    tags: Sequence[str] = ()
    worktrees: Sequence[str] = ()
    patterns: Sequence[str] = ()
    dependencies: bool = True


def resolve(
    located: Sequence[LocatedScenario], source: Path, *, capacities: Mapping[str, int], services: Collection[str]
) -> ScenarioPlan:
    """All scenarios of a file as a plan. capacities: of the resources; services: that the project declares.

    Raises UsageError for a name that is there twice or refers to nothing, a circle, or more than a resource has.
    """
    by_name: dict[str, LocatedScenario] = {}
    for each in located:
        name = each.scenario.name
        if name in by_name:
            first = f", first on line {by_name[name].line}" if by_name[name].line else ""
            raise problem(source, each.line, name, f"duplicate name{first}", code="scenario-twice")
        by_name[name] = each
    for each in located:
        _check_names(each, source, by_name, capacities, services)
    planned: dict[str, PlannedScenario] = {}
    for name in _in_order(by_name, source):
        planned[name] = _plan(by_name[name], planned)
    _check_worktrees(planned.values(), source)
    return ScenarioPlan(source, tuple(planned.values()))


def select(plan: ScenarioPlan, filters: Filters) -> ScenarioPlan:
    """Return what the filters choose, with what that needs. Raises UsageError (``empty-selection``) if nothing is
    left."""
    chosen = {each.name for each in plan.scenarios if _matches(each, filters)}
    if not chosen:
        raise _nothing(plan, filters)
    if filters.dependencies:
        for each in reversed(plan.scenarios):  # what needs comes before what is needed
            if each.name in chosen:
                chosen.update(need.name for need in each.needs)
    return _only(plan, chosen)


def within(plan: ScenarioPlan, names: Collection[str]) -> ScenarioPlan:
    """Those of these names. Raises UsageError (``scenario-gone``) for one that is not there."""
    there = {each.name for each in plan.scenarios}
    if gone := [name for name in names if name not in there]:
        raise UsageError("scenario-gone", f"{plan.source}: scenario '{gone[0]}' was removed from the file")
    return _only(plan, set(names))


def _only(plan: ScenarioPlan, names: Collection[str]) -> ScenarioPlan:
    kept: dict[str, PlannedScenario] = {}
    for each in plan.scenarios:
        if each.name in names:
            kept[each.name] = without(each, kept)
    return ScenarioPlan(plan.source, tuple(kept.values()))


def without(scenario: PlannedScenario, kept: Mapping[str, PlannedScenario]) -> PlannedScenario:
    """The scenario with those of its dependencies that are kept; the others are left out."""
    needs = tuple(kept[need.name] for need in scenario.needs if need.name in kept)
    gone = tuple(need.name for need in scenario.needs if need.name not in kept)
    return replace(scenario, needs=needs, left_out=(*scenario.left_out, *gone))


def _plan(each: LocatedScenario, planned: Mapping[str, PlannedScenario]) -> PlannedScenario:
    scenario = each.scenario
    return PlannedScenario(
        name=scenario.name,
        worktree=scenario.worktree,
        command=scenario.command or f"pytest {shlex.quote(scenario.test_file)}",
        needs=tuple(planned[name] for name in dict.fromkeys(scenario.dependencies)),
        description=scenario.description,
        timeout=scenario.timeout,
        tags=scenario.tags,
        retries=scenario.tries,
        resources=scenario.takes,
        shareable=scenario.shareable,
        exclusive=scenario.exclusive,
        always=scenario.always,
        ref=scenario.ref,
        python=scenario.python,
        services=scenario.services,
        env=scenario.env,
        line=each.line,
    )


def _check_names(
    each: LocatedScenario,
    source: Path,
    known: Collection[str],
    capacities: Mapping[str, int],
    services: Collection[str],
) -> None:
    scenario = each.scenario

    def wrong(code: str, message: str, hint: str = "") -> UsageError:
        return problem(source, each.line, scenario.name, message, code=code, hint=hint)

    for name in scenario.dependencies:
        if name not in known:
            raise wrong("scenario-missing-dependency", f"dependency '{name}' not found", _near(name, known))
    for name, amount in scenario.takes.items():
        if name not in capacities:
            hint = f"set its capacity: [tool.testgrove.resources] {name} = {amount}"
            raise wrong("scenario-unknown-resource", f"'resources': resource '{name}' not found", hint)
        if amount > capacities[name]:
            raise wrong(
                "scenario-resource",
                f"'resources': requires {amount} of '{name}', but its capacity is {capacities[name]}",
            )
    for name in scenario.services:
        if name not in services:
            there = ", ".join(services) or "none"
            raise wrong("scenario-unknown-service", f"'services': service '{name}' not found (available: {there})")


def _check_worktrees(scenarios: Iterable[PlannedScenario], source: Path) -> None:
    """Scenarios of one worktree cannot ask for two refs or interpreters of it."""
    said: dict[tuple[str, str], PlannedScenario] = {}
    for each in scenarios:
        for key, value in (("ref", each.ref), ("python", each.python)):
            first = said.setdefault((each.worktree, key), each) if value else each
            other = getattr(first, key)
            if other != value:
                conflict = f"'{other}' in scenario '{first.name}'"
                message = f"'{key}': '{value}' for worktree {each.worktree} conflicts with {conflict}"
                raise problem(source, each.line, each.name, message, code="scenario-worktree")


def _in_order(by_name: Mapping[str, LocatedScenario], source: Path) -> list[str]:
    """The names, each after its dependencies, else as they are. Raises UsageError (``scenario-cycle``)."""
    done: dict[str, None] = {}
    for start in by_name:
        trail = {} if start in done else {start: iter(by_name[start].scenario.dependencies)}
        while trail:
            name, needs = next(reversed(trail.items()))
            need = next((each for each in needs if each not in done), None)
            if need is None:
                done[name] = None
                del trail[name]
            elif need in trail:
                names = list(trail)
                circle = some([*names[names.index(need) :], need], between=" -> ")
                message = f"circular dependency: {circle}"
                raise problem(source, by_name[need].line, need, message, code="scenario-cycle")
            else:
                trail[need] = iter(by_name[need].scenario.dependencies)
    return list(done)


def _matches(scenario: PlannedScenario, filters: Filters) -> bool:
    return (
        (not filters.tags or bool({*filters.tags} & {*scenario.tags}))
        and (not filters.worktrees or scenario.worktree in filters.worktrees)
        and (not filters.patterns or any(_named(scenario.name, each) for each in filters.patterns))
    )


def _named(name: str, pattern: str) -> bool:
    whole = pattern if any(each in pattern for each in "*?[") else f"*{pattern}*"
    return fnmatch.fnmatchcase(name.lower(), whole.lower())


def _nothing(plan: ScenarioPlan, filters: Filters) -> UsageError:
    asked = [f"tag {each}" for each in filters.tags] + [f"worktree {each}" for each in filters.worktrees]
    asked += [f"name {each}" for each in filters.patterns]
    if not asked:
        return UsageError("empty-selection", f"{plan.source} has no scenarios", file=str(plan.source))
    tags = sorted({tag for each in plan.scenarios for tag in each.tags})
    hint = f"tags: {some(tags) or 'none'}; worktrees: {some(sorted(plan.worktrees)) or 'none'}"
    message = f"{plan.source}: no scenario matches {', '.join(asked)}"
    return UsageError("empty-selection", message, hint=hint, file=str(plan.source))


def _near(name: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(name, list(known), 2)
    return f"did you mean {' or '.join(near)}?" if near else f"available: {some(known)}"
