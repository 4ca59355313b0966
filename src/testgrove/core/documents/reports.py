"""The JSON reports of a run, as types: ``report.json`` and ``integration_report.json``.

Their JSON Schemas are in the package: schema_files.py names them.
"""

from __future__ import annotations

from typing import Literal, NotRequired, TypedDict

from testgrove.core.documents.commands import LocalTime, UtcTime, Version
from testgrove.core.runs.events import Phase, Status, TestOutcome, WorktreeAction
from testgrove.core.runs.leaks import LeakKind

RunStatus = Literal["passed", "failed", "error", "interrupted"]


class Test(TypedDict):
    """One test of an attempt. Its last five keys are left out where they are empty."""

    nodeid: str
    outcome: TestOutcome
    duration: float
    file: NotRequired[str]
    line: NotRequired[int]
    message: NotRequired[str]
    text: NotRequired[str]
    output: NotRequired[str]


class Attempt(TypedDict):
    """One try at a cell. `status` is null while it runs."""

    number: int
    status: Status | None
    reason: str
    started: UtcTime | None
    duration: float
    cpu: float
    command: str
    python: str
    commit: str
    exit_code: int | None
    log: str
    slot: int
    survivors: list[str]
    tail: str
    selected: int | None
    deselected: int
    tests: list[Test]


class PhaseTime(TypedDict):
    """What a cell's time went to; `offset`: seconds since the run's start."""

    phase: Phase
    offset: float
    duration: float
    reason: str


class Scenario(TypedDict):
    """The additional fields of a scenario's cell. `expected`: seconds, null if unknown."""

    description: str
    tags: list[str]
    needs: list[str]
    left_out: list[str]
    resources: dict[str, int]
    timeout: float
    retries: int
    shareable: bool
    always: bool
    expected: float | None


class Process(TypedDict):
    """An application process; `ready`: seconds until it was."""

    name: str
    attempt: int
    started: UtcTime | None
    ready: float | None
    command: str
    log: str
    reason: str
    tail: str


class Leak(TypedDict):
    """What an attempt left behind."""

    attempt: int
    kind: LeakKind
    name: str
    detail: str


class Outcomes(TypedDict):
    """How many tests ended how."""

    passed: int
    failed: int
    error: int
    skipped: int
    xfailed: int
    xpassed: int


class TestCounts(Outcomes):
    """How many tests ended how, over all cells: each cell counts with its last attempt."""

    total: int


class Cell(TypedDict):
    """One cell, or scenario, of a run. `status` is null while it is not finished."""

    key: str
    suite: str
    ref: str
    python: str
    deps: str
    versions: dict[str, str]
    worktree: str
    command: str
    scenario: Scenario | None
    status: Status | None
    reason: str
    hint: str
    all_skipped: bool
    duration: float
    tests: Outcomes
    flaky_tests: list[str]
    phases: list[PhaseTime]
    attempts: list[Attempt]
    processes: list[Process]
    leaks: list[Leak]


class CellCounts(TypedDict):
    """Number of cells by status; `unfinished` appears only while the run continues."""

    total: int
    passed: int
    failed: int
    error: int
    skipped: int
    flaky: int
    cancelled: int
    unfinished: NotRequired[int]


class Summary(TypedDict):
    """How many of each status and outcome."""

    cells: CellCounts
    tests: TestCounts


class WorktreeChange(TypedDict):
    """What was done to a scenario's worktree."""

    worktree: str
    action: WorktreeAction
    path: str
    detail: str


class Report(TypedDict):
    """A run: `report.json`. Durations are seconds."""

    schema_version: Version
    run: str
    project: str
    header: str
    seed: int | None
    again: str
    source: str
    base: str
    resumed: str
    merged: list[str]
    testgrove: str
    started: UtcTime | None
    ended: UtcTime | None
    duration: float
    jobs: int
    status: RunStatus
    exit_status: int
    complete: bool
    interrupted: str
    coverage: float | None
    coverage_note: str
    summary: Summary
    cells: list[Cell]
    worktrees: list[WorktreeChange]


class IntegrationSummary(TypedDict):
    """Every scenario counts once: the parts sum to `total`. `success_rate`: 0 to 100."""

    total: int
    passed: int
    failed: int
    skipped: int
    errors: int
    duration: float
    success_rate: float


class WorktreeCounts(TypedDict):
    """How a worktree's scenarios ended; `failed`: errors, too."""

    total: int
    passed: int
    failed: int


class Failure(TypedDict):
    """A scenario that failed, or could not run."""

    name: str
    description: str
    worktree: str
    command: str
    status: Status | None
    error: str
    tests: list[str]
    duration: float
    attempts: int
    output: str
    log: str


class ResourceLeak(TypedDict):
    """What a scenario left behind."""

    scenario: str
    worktree: str
    attempt: int
    type: LeakKind
    what: str
    detail: str


class IntegrationReport(TypedDict):
    """A run of scenarios as documented: `integration_report.json`, and what `coordinate --report` writes.

    `timestamp`: the run's end; null where `tests/integration/coordinator.py` has run nothing."""

    schema_version: Version
    summary: IntegrationSummary
    by_worktree: dict[str, WorktreeCounts]
    failures: list[Failure]
    resource_leaks: list[ResourceLeak]
    timestamp: LocalTime | None
