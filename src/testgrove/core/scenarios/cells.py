"""Scenarios as what runs and schedules speak of: cells and tasks."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence

from testgrove.core.model import WorktreeId
from testgrove.core.runs.events import ScenarioInfo
from testgrove.core.runs.plan import Cell
from testgrove.core.scenarios.resolve import PlannedScenario
from testgrove.core.scheduling.tasks import Task
from testgrove.core.settings.types import Suite

PURPOSE = "scenario"
_SHORT = 41


def cells_of(scenarios: Sequence[PlannedScenario], expected: Mapping[str, float]) -> tuple[Cell, ...]:
    """The scenarios as cells. expected: seconds, by name, where they are known."""
    return tuple(_cell(each, expected.get(each.name)) for each in scenarios)


def tasks_of(scenarios: Sequence[PlannedScenario]) -> list[Task]:
    """The scenarios as tasks."""
    return [
        Task(
            each.name,
            needs=tuple(need.name for need in each.needs),
            worktree=each.worktree,
            shareable=each.shareable,
            resources=tuple(name for name, amount in each.resources.items() for _ in range(amount)),
            exclusive=each.exclusive,
            always=each.always,
            retries=each.retries,
        )
        for each in scenarios
    ]


def _cell(scenario: PlannedScenario, expected: float | None) -> Cell:
    name = plain(scenario.name)
    settings = Suite(
        command=scenario.command,
        services=scenario.services,
        timeout=scenario.timeout,
        exclusive=scenario.exclusive,
        env=dict(scenario.env),
    )
    info = ScenarioInfo(
        worktree=scenario.worktree,
        description=scenario.description,
        tags=scenario.tags,
        needs=tuple(need.name for need in scenario.needs),
        left_out=scenario.left_out,
        resources=dict(scenario.resources),
        timeout=scenario.timeout,
        retries=scenario.retries,
        shareable=scenario.shareable,
        always=scenario.always,
        expected=expected,
    )
    return Cell(
        key=scenario.name,
        suite=scenario.name,
        settings=settings,
        ref=scenario.ref,
        python=scenario.python,
        id=WorktreeId(PURPOSE, name),
        folder=name,
        scenario=info,
    )


def plain(name: str) -> str:
    """Return a name that is valid as folder and identifier: unchanged if possible, else with a unique hash."""
    slug = re.sub(r"[^A-Za-z0-9_]+", "-", name).strip("-_") or "x"
    if slug == name and len(name) <= _SHORT and name != "coverage":  # which is a folder of the run's
        return slug
    return f"{slug[:_SHORT].rstrip('-_')}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
