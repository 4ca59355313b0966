"""The events of a run, versioned: what its log holds.

Times are seconds since the epoch; durations are seconds.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Literal, Union

import msgspec

from testgrove.core.runs.leaks import LeakKind

VERSION = 1

Status = Literal["passed", "failed", "error", "skipped", "flaky", "cancelled"]
Phase = Literal[
    "waiting",
    "worktree",
    "environment",
    "databases",
    "setup",
    "preflight",
    "processes",
    "running",
    "collecting",
    "parking",
]
WorktreeAction = Literal["adopted", "verified", "repaired", "created", "pulled", "removed", "kept", "failed"]
TestOutcome = Literal["passed", "failed", "error", "skipped", "xfailed", "xpassed"]


def _snake(name: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() and i else c.lower() for i, c in enumerate(name))


class Event(msgspec.Struct, frozen=True, tag_field="type", tag=_snake, kw_only=True):
    """One line of a run's log."""

    t: float


class ScenarioInfo(msgspec.Struct, frozen=True, kw_only=True):
    """The additional fields of a scenario's cell.

    worktree: the folder under the base path. needs: the scenarios it waits for. left_out: dependencies that were
    skipped. timeout, expected: seconds; expected is null if unknown."""

    worktree: str
    description: str = ""
    tags: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    resources: dict[str, int] = msgspec.field(default_factory=dict)
    timeout: float = 0.0
    retries: int = 0
    shareable: bool = False
    always: bool = False
    expected: float | None = None


class CellInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A cell as planned. key: unique in the run and stable between runs (``unit``, ``unit@main-py3.12+lowest``).
    deps: its dependency set. versions: of engines, where the settings name several. scenario: where it is one."""

    key: str
    suite: str
    ref: str
    python: str
    worktree: str
    command: str
    deps: str = ""
    versions: dict[str, str] = msgspec.field(default_factory=dict)
    scenario: ScenarioInfo | None = None


class RunStarted(Event, frozen=True, kw_only=True):
    """seed: of the tests' random order. again: the command that repeats the run. source: the scenario file. base: the
    folder of the scenarios' worktrees. resumed: the run that this one goes on with. merged: the runs it is made of.
    fail_on_leak: a leak makes the exit status 6."""

    version: int = VERSION
    run: str
    project: str
    header: str
    jobs: int
    cells: tuple[CellInfo, ...]
    testgrove: str = ""
    seed: int | None = None
    again: str = ""
    source: str = ""
    base: str = ""
    resumed: str = ""
    fail_on_leak: bool = False
    merged: tuple[str, ...] = ()


class CellPhase(Event, frozen=True, kw_only=True):
    """A cell enters a phase. reason: what it waits for, shown to the user while it does. slot: the one that it is in,
    from 1; 0 while it has none."""

    cell: str
    phase: Phase
    reason: str = ""
    slot: int = 0


class AttemptStarted(Event, frozen=True, kw_only=True):
    """log: the path of the attempt's output, relative to the run's folder. slot: where it runs, from 1."""

    cell: str
    attempt: int
    command: str
    worktree: str
    python: str
    log: str
    commit: str = ""
    slot: int = 0


class TestsCollected(Event, frozen=True, kw_only=True):
    cell: str
    attempt: int
    selected: int
    deselected: int = 0


class TestRunning(Event, frozen=True, kw_only=True):
    """A test that has been running for so many seconds. Tests that end sooner have no such event."""

    cell: str
    attempt: int
    nodeid: str
    elapsed: float


class TestFinished(Event, frozen=True, kw_only=True):
    """One test's outcome. output: captured sections. text: the failure's long form. file, line: its location."""

    cell: str
    attempt: int
    nodeid: str
    outcome: TestOutcome
    duration: float
    message: str = ""
    text: str = ""
    output: str = ""
    file: str = ""
    line: int = 0


class AttemptFinished(Event, frozen=True, kw_only=True):
    """How an attempt ended. exit_code: the command's, or None when it never started; tail: the end of its output."""

    cell: str
    attempt: int
    status: Status
    reason: str = ""
    exit_code: int | None = None
    duration: float = 0.0
    cpu: float = 0.0
    survivors: tuple[str, ...] = ()
    tail: str = ""


class ProcessStarted(Event, frozen=True, kw_only=True):
    """An application process is started for an attempt. log: its output, relative to the run's folder."""

    cell: str
    attempt: int
    process: str
    command: str
    log: str


class ProcessFinished(Event, frozen=True, kw_only=True):
    """A process ended.

    ready: seconds until it was ready, or None. reason: how it ended; empty if testgrove stopped it. tail: the end of
    its output, if it failed."""

    cell: str
    attempt: int
    process: str
    ready: float | None = None
    reason: str = ""
    tail: str = ""


class LeakFound(Event, frozen=True, kw_only=True):
    """An attempt left something behind. name: what; detail: whose it is, or where. It can come after the cell's end."""

    cell: str
    attempt: int
    kind: LeakKind
    name: str
    detail: str = ""


class CellFinished(Event, frozen=True, kw_only=True):
    cell: str
    status: Status
    reason: str = ""
    hint: str = ""


class WorktreeChanged(Event, frozen=True, kw_only=True):
    """Something was done to a scenario's worktree, or refused. detail: what, or why."""

    worktree: str
    action: WorktreeAction
    path: str
    detail: str = ""


class Interrupted(Event, frozen=True, kw_only=True):
    """The user, a signal, or a crash (found by the next command) ended the run early."""

    reason: str


class CoverageMerged(Event, frozen=True, kw_only=True):
    """total: percentage over all cells; None if there is none; then note is the reason."""

    total: float | None = None
    note: str = ""


class RunFinished(Event, frozen=True, kw_only=True):
    duration: float


AnyEvent = Union[  # noqa: UP007 - msgspec reads the union at run time
    RunStarted,
    CellPhase,
    AttemptStarted,
    TestsCollected,
    TestRunning,
    TestFinished,
    AttemptFinished,
    ProcessStarted,
    ProcessFinished,
    LeakFound,
    CellFinished,
    WorktreeChanged,
    Interrupted,
    CoverageMerged,
    RunFinished,
]

_encoder = msgspec.json.Encoder()


@cache
def _decoder() -> msgspec.json.Decoder[AnyEvent]:
    return msgspec.json.Decoder(AnyEvent)  # 3 ms, which a run that reads no log need not spend


def encode(event: AnyEvent) -> bytes:
    """One line of JSON, without its newline."""
    return _encoder.encode(event)


def as_text(event: AnyEvent) -> AnyEvent:
    """The event as a log can have it: names of files that are no UTF-8 (``os.fsdecode()``) with their bytes shown."""
    try:
        _encoder.encode(event)
    except UnicodeEncodeError:
        event = _decoder().decode(_encoder.encode(_shown(msgspec.to_builtins(event))))
    return event


def _shown(value: Any) -> Any:
    match value:
        case str():
            return value.encode("utf-8", "backslashreplace").decode()
        case dict():
            return {_shown(key): _shown(each) for key, each in value.items()}
        case list() | tuple():
            return [_shown(each) for each in value]
    return value


def decode_log(data: bytes) -> list[AnyEvent]:
    """All whole events of a log. A last line that was cut short by a crash is left out."""
    events: list[AnyEvent] = []
    for line in data.split(b"\n"):
        try:
            if line:
                events.append(_decoder().decode(line))
        except (msgspec.DecodeError, UnicodeDecodeError):
            break
    return events
