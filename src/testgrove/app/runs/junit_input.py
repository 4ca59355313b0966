"""The tests of a suite that is not pytest, read from the JUnit file it writes."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from pathlib import Path

from testgrove.core.runs.events import TestFinished, TestOutcome
from testgrove.errors import PreconditionError

_OUTCOMES: dict[str, TestOutcome] = {"failure": "failed", "error": "error", "skipped": "skipped"}


def read_junit(path: Path, cell: str, attempt: int) -> Iterator[TestFinished]:
    """The test cases of a JUnit file as events. Raises PreconditionError when it is missing or no XML."""
    import xml.etree.ElementTree as ET  # noqa: PLC0415 - few suites write such a file

    try:
        root = ET.parse(path).getroot()  # noqa: S314 - the project's own suite has written it
    except (OSError, ET.ParseError) as error:
        raise PreconditionError(
            "junit-unreadable",
            f"cannot read the suite's JUnit file {path.name}: {error}",
            hint="check the suite's output and its setting `junit`",
        ) from error
    for case in root.iter("testcase"):
        found = next((child for child in case if child.tag in _OUTCOMES), None)
        yield TestFinished(
            t=time.time(),
            cell=cell,
            attempt=attempt,
            nodeid="::".join(filter(None, [case.get("classname"), case.get("name")])) or "unnamed",
            outcome="passed" if found is None else _OUTCOMES[found.tag],
            duration=_seconds(case.get("time")),
            message=(found.get("message") or "") if found is not None else "",
            text=(found.text or "") if found is not None else "",
            output=case.findtext("system-out") or "",
            file=case.get("file") or "",
        )


def _seconds(text: str | None) -> float:
    """A duration; 0 for what is none, such as ``NaN`` and ``inf``, which no report can hold."""
    try:
        seconds = float(text or 0)
    except ValueError:
        return 0.0
    return seconds if math.isfinite(seconds) else 0.0
