"""The phases of one test become one record.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from typing import Any

from pytest_testgrove.session import cut

_SEVERITY = {"passed": 0, "skipped": 1, "xfailed": 1, "xpassed": 1, "error": 2, "failed": 3}
_MESSAGE_LIMIT = 500  # characters


class Case:
    """The known state of one test. Its reports are added as they come; record() returns the result.

    The worst phase decides; of two equal ones the first. A failed subtest fails its test. is_to_be_rerun: the last try
    does not count (pytest-rerunfailures starts and finishes the test again for each try).
    """

    def __init__(self, nodeid: str) -> None:
        self.nodeid = nodeid
        self.reruns = 0
        self.is_to_be_rerun = False
        self._duration = 0.0
        self._location: tuple[str, int | None, str] | None = None
        self._start_over()

    def _start_over(self) -> None:
        self._outcome = ""
        self._message = ""
        self._texts: list[str] = []
        self._sections: list[tuple[str, str]] = []
        self._beyond_setup = False

    def add(self, report: Any) -> None:
        """Take one phase's report into account."""
        subtest = type(report).__name__.lower() == "subtestreport"
        if not subtest:
            self._duration += report.duration
            self._location = report.location
        if report.when == "setup":
            self.is_to_be_rerun = False
        if self.is_to_be_rerun:
            return  # what follows in a try that does not count
        if report.outcome == "rerun":
            self.reruns += 1
            self._start_over()
            self.is_to_be_rerun = True
            return
        if subtest and report.outcome != "failed":
            return
        outcome = phase_outcome(report)
        if not self._outcome or _SEVERITY[outcome] > _SEVERITY[self._outcome]:
            self._outcome, self._message = outcome, message_of(report)
        if report.outcome == "failed":
            self._texts.append(report.longreprtext)
        if not subtest:
            self._sections = report.sections  # a later phase holds the earlier ones' too
            self._beyond_setup |= report.when != "setup" or outcome != "passed"

    @property
    def is_judged(self) -> bool:
        """Whether there is an outcome to speak of: a set-up that went well is none."""
        return self._beyond_setup or bool(self._texts)

    def record(self, prefix: str) -> dict[str, Any]:
        """The fields of the test's line. prefix: from the tree to pytest's root, empty or ending in ``/``."""
        file, line, _ = self._location or (self.nodeid.split("::")[0], None, "")
        record: dict[str, Any] = {
            "nodeid": self.nodeid,
            "outcome": self._outcome,
            "duration": round(self._duration, 6),
            "message": self._message,
            "text": cut("\n\n".join(self._texts)),
            "output": cut("\n".join(f"--- {name} ---\n{content}" for name, content in self._sections)),
            "file": prefix + file,
            "line": 0 if line is None else line + 1,
        }
        if self.reruns:
            record["reruns"] = self.reruns
        return record


def phase_outcome(report: Any) -> str:
    """Return the outcome of one phase."""
    if report.outcome == "failed":
        return "error" if report.when in ("setup", "teardown", "collect") else "failed"
    expected = hasattr(report, "wasxfail")
    if report.outcome == "skipped":
        return "xfailed" if expected else "skipped"
    return "xpassed" if expected and report.when == "call" else "passed"


def collector_record(report: Any, prefix: str) -> dict[str, Any]:
    """The fields of the line of a collector that failed or was skipped."""
    failed = report.outcome == "failed"
    return {
        "nodeid": report.nodeid,
        "outcome": "error" if failed else "skipped",
        "duration": 0.0,
        "message": message_of(report),
        "text": cut(report.longreprtext) if failed else "",
        "output": cut("\n".join(f"--- {name} ---\n{content}" for name, content in report.sections)),
        "file": prefix + report.nodeid.split("::")[0],
        "line": 0,
    }


def message_of(report: Any) -> str:
    """Why a phase did not pass, in one line; an empty string for one that passed."""
    if hasattr(report, "wasxfail") and report.outcome != "failed":
        return _one_line(str(report.wasxfail).replace("reason: ", "", 1))
    long = report.longrepr
    if long is None:
        return ""
    if isinstance(long, tuple):  # (path, line, "Skipped: why")
        return _one_line(str(long[2]).replace("Skipped: ", "", 1))
    crash = getattr(long, "reprcrash", None)
    return _one_line(str(crash.message)) if crash is not None else _last_error(report.longreprtext)


def _last_error(text: str) -> str:
    """Of a text without structure, the first line that pytest marks as the error; else the last one."""
    lines = [line for line in text.splitlines() if line.strip()]
    marked = [line[1:] for line in lines if line.startswith("E ")]
    return _one_line((marked or lines[-1:] or [""])[0])


def _one_line(text: str) -> str:
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return line if len(line) <= _MESSAGE_LIMIT else line[: _MESSAGE_LIMIT - 3] + "..."
