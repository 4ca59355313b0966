"""``coordinate --dry-run``: what would happen, for people and for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from testgrove.core.text import some
from testgrove.reports.wording import flat, number, seconds

if TYPE_CHECKING:
    from collections.abc import Iterable

    from testgrove.core.scenarios.resolve import PlannedScenario, ScenarioPlan
    from testgrove.core.scheduling.forecast import Forecast


def document(
    plan: ScenarioPlan, forecast: Forecast, *, jobs: int, base: str, worktrees: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    """The plan as plain values. worktrees: path, state and detail of each. Seconds are null where none are recorded."""
    known = forecast.known > 0
    by_name = {each.name: each for each in plan.scenarios}
    return {
        "file": str(plan.source),
        "base": base,
        "jobs": jobs,
        "order": [_scenario(by_name[name], forecast) for name in forecast.order],
        "worktrees": worktrees,
        "resources": _resources(plan),
        "expected": round(forecast.seconds, 3) if known else None,
        "critical_path": list(forecast.critical),
        "critical_seconds": round(forecast.critical_seconds, 3) if known else None,
        "left_out": {name: list(needs) for name, needs in plan.left_out.items()},
    }


def as_lines(found: dict[str, Any]) -> list[str]:
    """The same as lines of text."""
    names = [flat(each["name"]) for each in found["order"]]
    width = max(map(len, names), default=0)
    width_of_worktrees = max((len(each["worktree"]) for each in found["order"]), default=0)
    lines = [f"{found['file']}: {number(len(names), 'scenario')} on {number(found['jobs'], 'slot')}, in this order:"]
    lines += [
        _line(number, each, f"{name:{width}}  {each['worktree']:{width_of_worktrees}}")
        for number, (name, each) in enumerate(zip(names, found["order"], strict=True), 1)
    ]
    to_set_up = {name: at for name, at in found["worktrees"].items() if not at["ready"]}
    lines.append(f"worktrees in {flat(found['base'])}: {_some(found['worktrees'])}")
    lines.append(f"to set up: {_some((_to_set_up(*each) for each in to_set_up.items()), '; ') or 'none'}")
    if found["resources"]:
        taken = (f"{name} ({_some(map(flat, users))})" for name, users in found["resources"].items())
        lines.append(f"resources: {'; '.join(taken)}")
    for name, needs in found["left_out"].items():
        lines.append(f"left out: {flat(name)} runs without {_some(map(flat, needs))}")
    critical = _some(map(flat, found["critical_path"]), " -> ")
    lines.append(f"critical path: {critical}{_took(found['critical_seconds'])}")
    expected = found["expected"]
    lines.append(f"expected: {seconds(expected) if expected is not None else 'unknown: no run is recorded yet'}")
    return lines


def _line(number: int, scenario: dict[str, Any], what: str) -> str:
    parts = [f"{number:>3}. {what}"]
    if scenario["expected"] is not None:
        parts.append(f"about {seconds(scenario['expected'])}")
    if scenario["needs"]:
        parts.append(f"after {_some(map(flat, scenario['needs']))}")
    if scenario["tags"]:
        parts.append(f"[{', '.join(map(flat, scenario['tags']))}]")
    return "  ".join(parts).rstrip()


def _some(names: Iterable[str], between: str = ", ") -> str:
    return some(names, between=between, whole="--json")


def _to_set_up(name: str, at: dict[str, Any]) -> str:
    return f"{name} ({flat(at['detail'])}{': ' + at['would'] if at['would'] else ''})"


def _took(value: float | None) -> str:
    return "" if value is None else f" ({seconds(value)})"


def _scenario(scenario: PlannedScenario, forecast: Forecast) -> dict[str, Any]:
    return {
        "name": scenario.name,
        "description": scenario.description,
        "worktree": scenario.worktree,
        "command": scenario.command,
        "needs": [need.name for need in scenario.needs],
        "tags": list(scenario.tags),
        "timeout": scenario.timeout,
        "resources": dict(scenario.resources),
        "expected": round(forecast.expected[scenario.name], 3) if forecast.known else None,
    }


def _resources(plan: ScenarioPlan) -> dict[str, list[str]]:
    """Return who takes each resource."""
    found: dict[str, list[str]] = {}
    for each in plan.scenarios:
        for name in each.resources:
            found.setdefault(name, []).append(each.name)
    return found
