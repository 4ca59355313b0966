"""A run's folder: its log, and the reports that are computed from it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from testgrove.core.events import AnyEvent, Interrupted, decode_log, encode
from testgrove.core.result import RunResult, fold
from testgrove.system.files import atomic_write, explained, remove_empty

LOG = "events.jsonl"
Render = Callable[[RunResult], Mapping[str, str]]  # a result in, file names and contents out


class EventLog:
    """The run's log, appended to by one thread. Its modification time is the run's heartbeat."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / LOG
        with explained("write the run's log", self.path):
            self._file = self.path.open("ab", buffering=0)

    def append(self, event: AnyEvent) -> None:
        """Write one event, at once: a crash loses nothing that was shown."""
        with explained("write the run's log", self.path):
            self._file.write(encode(event) + b"\n")

    def beat(self) -> None:
        """Show that the run lives, without an event."""
        os.utime(self.path)

    def close(self) -> None:
        """Nothing is appended any more."""
        self._file.close()


def write_reports(folder: Path, result: RunResult, render: Render) -> None:
    """Write every report of a run, and point ``latest`` to it."""
    for name, text in render(result).items():
        atomic_write(folder / name, text.encode("utf-8", "replace"))
    point_latest(folder)


def point_latest(folder: Path) -> None:
    """Make ``test-artifacts/latest`` a link to this run."""
    fresh = folder.parent / f".latest-{folder.name}"
    with explained("point to the newest run", folder):
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(folder.name)
        fresh.replace(folder.parent / "latest")


def read_result(folder: Path) -> RunResult:
    """The result of a run, from its log."""
    with explained("read the run's log", folder):
        return fold(decode_log((folder / LOG).read_bytes()))


def report_killed_run(folder: Path, render: Render) -> None:
    """Give a run that was killed its reports, where its log is still there. One that had not begun leaves none."""
    path = folder / LOG
    data = path.read_bytes() if path.exists() else b""
    events = decode_log(data)
    if not events:
        path.unlink(missing_ok=True)
        remove_empty(folder, folder.parent)
        return
    result = fold(events)
    if not result.complete:
        event = Interrupted(t=time.time(), reason="the run was killed; this report was made by the next command")
        with path.open("ab") as file:
            # A line that was cut short must not swallow this one.
            file.write((b"" if data.endswith(b"\n") else b"\n") + encode(event) + b"\n")
        result.interrupted = event.reason
    write_reports(folder, result, render)
