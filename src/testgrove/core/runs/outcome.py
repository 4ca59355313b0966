"""How an attempt ended: from what was observed to a status and the reason that people read."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from testgrove.core.frozen import frozen
from testgrove.core.lazy_pattern import lazy_pattern
from testgrove.core.runs.events import Status

# pytest's own exit statuses, https://docs.pytest.org/en/stable/reference/exit-codes.html
_PYTEST_EXITS = {
    2: "pytest was interrupted",
    3: "pytest had an internal error",
    4: "invalid pytest arguments",
}
_WRONG_ARGUMENTS = 4
_NOTHING_COLLECTED = 5
TIMED_OUT = "timed out"  # how the reason begins of what took longer than its timeout
_SHELL_EXITS = {126: "cannot execute a command", 127: "command not found"}
_PYTEST_COMMAND = lazy_pattern(r"(^|[\s/;&|(])(pytest|py\.test)([\s;&|)]|$)|-m\s+pytest\b|-mpytest\b")
_UNITTEST_COMMAND = lazy_pattern(r"\bmanage\.py\s+test\b|-m\s*unittest\b|\bdjango-admin\s+test\b")
_UNITTEST_RAN = lazy_pattern(r"^Ran (\d+) tests? in ", re.MULTILINE)


@dataclass
class SessionFacts:
    """The plugin's report on an attempt's pytest sessions.

    ran: how many of the selected tests came to an outcome. unfinished: the tests that have not ended, and when each
    began (time.monotonic()). at: where the project's code was when the time was up. elsewhere: the environments outside
    of the worktree in which pytest ran. pytest: its version. stacks: the signal at which its processes write theirs.
    """

    sessions: int = 0
    finishes: int = 0
    selected: int = 0
    ran: int = 0
    deselected: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    foreign: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)
    unfinished: dict[str, float] = field(default_factory=dict)
    at: str = ""
    pytest: str = ""
    stacks: int = 0

    @property
    def running(self) -> str:
        """The test that has run longest and has not ended; empty if there is none."""
        return min(self.unfinished, key=self.unfinished.__getitem__, default="")

    @property
    def claimed(self) -> bool:
        """Whether a pytest process of the suite itself reported."""
        return self.sessions > 0

    @property
    def finished(self) -> bool:
        """Whether every session that began came to its end."""
        return self.sessions == self.finishes


@frozen
class Ending:
    """How the command itself ended, as its supervisor saw it. timeout: seconds it was allowed."""

    exit_code: int | None
    signal: int | None = None
    timed_out: bool = False
    cancelled: bool = False
    lost: bool = False
    timeout: float = 0.0


def is_pytest(command: str) -> bool:
    """Return whether a suite's command runs pytest, judging by its text."""
    return bool(_PYTEST_COMMAND.search(command))


def judge_unittest(command: str, output: str, status: Status, reason: str) -> tuple[Status, str]:
    """Correct a status by the last lines of unittest's or Django's own test command."""
    if status != "passed" or not _UNITTEST_COMMAND.search(command):
        return status, reason
    ran = [int(number) for number in _UNITTEST_RAN.findall(output)]
    if not sum(ran):
        return "error", "no tests selected: no test ran"
    return status, f"{sum(ran)} tests ran; not verified: not a pytest suite"


def judge(
    ending: Ending, facts: SessionFacts, *, pytest: bool, chosen: bool = False, cause: str = ""
) -> tuple[Status, str]:
    """The status of an attempt and its reason (empty for one that simply passed).

    chosen: the user chooses tests by keyword, and a suite may have none of them. cause: what the command's output says
    about a failure.
    """
    if ending.cancelled:
        return "cancelled", "the run was interrupted"
    if ended_badly := _ended_badly(ending, facts):
        return "error", ended_badly
    if facts.foreign:
        return "error", "ran other code: " + "; ".join(list(dict.fromkeys(facts.foreign))[:3])
    if facts.elsewhere:
        return "error", f"pytest ran in {facts.elsewhere[0]}, not in this worktree's environment (.venv)"
    if not facts.claimed:
        return _judge_unreported(ending, cause, pytest=pytest)
    if chosen and facts.deselected and ending.exit_code == _NOTHING_COLLECTED:
        return "skipped", f"none of {facts.deselected} tests was selected"
    status, reason = _judge_session(ending, facts)
    told = cause if reason and cause and ending.exit_code not in (0, _NOTHING_COLLECTED) else ""
    return status, f"{reason}: {told}" if told else reason


def judge_junit(counts: Counter[str], status: Status, reason: str) -> tuple[Status, str]:
    """Correct a status by the tests in a JUnit file."""
    bad, total = counts["failed"] + counts["error"], counts.total()
    if status == "passed" and bad:
        return "failed", f"{bad} tests failed, but the exit status was 0"
    if status == "passed" and not total:
        return "error", "no tests selected: no test ran"
    if status == "passed" and counts["skipped"] == total:
        return "skipped", f"all {total} tests were skipped"
    return status, reason


def judge_processes(ended: Sequence[str], status: Status, reason: str) -> tuple[Status, str]:
    """Correct a status by application processes that ended while the suite ran."""
    if not ended or status == "cancelled":
        return status, reason
    return "error", "; ".join([*(f"{each} while the suite ran" for each in ended), *filter(None, [reason])])


def judge_connections(foreign: Sequence[object], status: Status, reason: str) -> tuple[Status, str]:
    """Return the status of an attempt that was stopped because it connected to foreign databases."""
    if not foreign:
        return status, reason
    ended = "" if status in ("cancelled", "passed") else reason
    return "error", "; ".join([*map(str, foreign[:3]), *filter(None, [ended])])


def _ended_badly(ending: Ending, facts: SessionFacts) -> str:
    where = f" in {facts.running}" if facts.running else ""
    if ending.lost:
        return f"its supervisor process was killed{where}"
    if ending.timed_out:
        at = f" ({facts.at})" if facts.at else ""
        return f"{TIMED_OUT} after {ending.timeout:g} s{where}{at}"
    if ending.signal is not None:
        return f"killed by signal {ending.signal}{where}"
    return ""


def _judge_unreported(ending: Ending, cause: str, *, pytest: bool) -> tuple[Status, str]:
    if ending.exit_code in _SHELL_EXITS:
        return "error", f"{_SHELL_EXITS[ending.exit_code]} (exit status {ending.exit_code})"
    if pytest and ending.exit_code == 0:
        return "error", (
            "pytest did not run, or ran without testgrove's plugin (python -I, or an environment that drops "
            "PYTHONPATH?), so which code it tested is not verified"
        )
    if pytest and cause:
        return "error", f"pytest could not start (exit status {ending.exit_code}): {cause}"
    if pytest:
        return "error", (
            f"pytest exited with status {ending.exit_code} before testgrove's plugin could report "
            "(python -I or -E? a PYTHONPATH that the command sets belongs in the suite's `env`)"
        )
    if ending.exit_code == 0:
        return "passed", "not verified: not a pytest suite"
    return "failed", ": ".join(filter(None, [f"exit status {ending.exit_code}", cause]))


def _judge_session(ending: Ending, facts: SessionFacts) -> tuple[Status, str]:
    counts, code = facts.outcomes, ending.exit_code
    bad = counts["failed"] + counts["error"]
    if not facts.finished and code == 0:
        where = f": it left in {facts.running}" if facts.running else ""
        return "error", f"pytest exited without finishing its session{where}"
    if code == _NOTHING_COLLECTED or (code == 0 and not sum(counts.values())):
        return "error", "no tests selected: no test ran"
    if code == _WRONG_ARGUMENTS and bad:  # `pytest test_x.py::test_y` where test_x.py cannot be imported
        return "failed", "pytest could not collect the tests"
    if code in _PYTEST_EXITS:
        return ("failed" if code == 2 and bad else "error"), _PYTEST_EXITS[code]
    if code in _SHELL_EXITS and not bad:
        return "error", f"{_SHELL_EXITS[code]} (exit status {code})"
    if code != 0:
        return "failed", "" if bad else f"pytest exited with status {code}, but no test failed"
    if bad:
        return "failed", f"{bad} tests failed, but pytest's exit status was 0"
    if facts.ran < facts.selected:
        return "error", f"pytest stopped early: {facts.ran} of {facts.selected} selected tests ran"
    if counts["skipped"] == sum(counts.values()):
        return "skipped", f"all {counts['skipped']} tests were skipped"
    return "passed", ""
