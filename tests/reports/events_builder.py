"""Builds a run's events by hand, with a clock that only moves when it is told to."""

from __future__ import annotations

from testgrove.core.runs.events import (
    AnyEvent,
    AttemptFinished,
    AttemptStarted,
    CellFinished,
    CellInfo,
    CellPhase,
    Interrupted,
    Phase,
    RunFinished,
    RunStarted,
    Status,
    TestFinished,
    TestOutcome,
    TestRunning,
    TestsCollected,
)
from testgrove.core.runs.result import ResultBuilder, RunResult, fold

START = 1_769_852_400.0  # 2026-01-31T09:40:00Z


def info(key: str) -> CellInfo:
    """A cell whose suite, ref, interpreter and dependency set are read off its key: ``unit@main-py3.12+lowest``."""
    whole, _, deps = key.partition("+")
    suite, _, rest = whole.partition("@")
    ref, _, python = rest.partition("-py")
    return CellInfo(
        key=key,
        suite=suite,
        ref=ref,
        python=python,
        worktree=f"test-{suite}-abc",
        command=f"pytest tests/{suite}",
        deps=deps,
    )


class Log:
    """Events in the order in which they are told."""

    def __init__(self, *keys: str, jobs: int = 2) -> None:
        self.now = START
        self.attempts: dict[str, int] = {}
        self.events: list[AnyEvent] = [
            RunStarted(
                t=self.now,
                run="20260131-094000-ab12",
                project="shop",
                jobs=jobs,
                cells=tuple(map(info, keys)),
                header="working tree: 3 modified, 1 untracked",
                testgrove="0.1.0",
            )
        ]

    def wait(self, seconds: float) -> Log:
        self.now += seconds
        return self

    def add(self, event: AnyEvent) -> Log:
        self.events.append(event)
        return self

    def phase(self, cell: str, phase: Phase, reason: str = "", took: float = 0.0) -> Log:
        return self.add(CellPhase(t=self.now, cell=cell, phase=phase, reason=reason)).wait(took)

    def attempt(self, cell: str, selected: int | None = None) -> Log:
        number = self.attempts[cell] = self.attempts.get(cell, 0) + 1
        self.add(
            AttemptStarted(
                t=self.now,
                cell=cell,
                attempt=number,
                command=f"pytest tests/{cell}",
                worktree="test-unit-abc",
                python=info(cell).python or "3.12.1",
                log=f"test-unit-abc/attempt-{number}.log",
                commit="0123456789abcdef" * 2 + "01234567",
            )
        )
        if selected is not None:
            self.add(TestsCollected(t=self.now, cell=cell, attempt=number, selected=selected))
        return self

    def test(self, cell: str, nodeid: str, outcome: TestOutcome = "passed", took: float = 0.01, **more: object) -> Log:
        self.wait(took)
        fields = {"file": nodeid.partition("::")[0], "line": 7, **more}
        return self.add(
            TestFinished(
                t=self.now,
                cell=cell,
                attempt=self.attempts[cell],
                nodeid=nodeid,
                outcome=outcome,
                duration=took,
                **fields,  # type: ignore[arg-type] # names are TestFinished's own
            )
        )

    def running(self, cell: str, nodeid: str, elapsed: float) -> Log:
        """A test that has been running for so many seconds when that is noticed, now."""
        number = self.attempts[cell]
        return self.add(TestRunning(t=self.now, cell=cell, attempt=number, nodeid=nodeid, elapsed=elapsed))

    def attempt_ends(self, cell: str, status: Status, **more: object) -> Log:
        return self.add(
            AttemptFinished(t=self.now, cell=cell, attempt=self.attempts[cell], status=status, **more)  # type: ignore[arg-type]
        )

    def cell_ends(self, cell: str, status: Status, reason: str = "", hint: str = "") -> Log:
        return self.add(CellFinished(t=self.now, cell=cell, status=status, reason=reason, hint=hint))

    def whole_cell(self, cell: str, *outcomes: TestOutcome, status: Status = "passed") -> Log:
        """A cell with one attempt whose tests end as told."""
        self.phase(cell, "running").attempt(cell, len(outcomes))
        for number, outcome in enumerate(outcomes):
            message = f"AssertionError: number {number}" if outcome in ("failed", "error") else ""
            self.test(cell, f"tests/test_a.py::test_{number}", outcome, message=message)
        return self.attempt_ends(cell, status, duration=0.01 * len(outcomes)).cell_ends(cell, status)

    def interrupted(self, reason: str) -> Log:
        return self.add(Interrupted(t=self.now, reason=reason))

    def finished(self) -> RunResult:
        """The result of a run that came to its end."""
        return fold([*self.events, RunFinished(t=self.now, duration=self.now - START)])

    def killed(self) -> RunResult:
        """The result of a log that breaks off here."""
        return fold(self.events)

    def live(self) -> RunResult:
        """The result so far, of a run that goes on."""
        builder = ResultBuilder()
        for event in self.events:
            builder.apply(event)
        return builder.result
