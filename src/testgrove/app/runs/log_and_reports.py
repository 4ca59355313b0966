"""A run's folder: its log, and the reports that are computed from it."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from testgrove.core.runs.events import AnyEvent, Interrupted, decode_log, encode
from testgrove.core.runs.result import ResultBuilder, RunResult, fold
from testgrove.system.deletion import remove_empty
from testgrove.system.files import atomic_write, explained

LOG = "events.jsonl"
RESERVE = ".reserve"
RESERVED = 4 << 20  # bytes that are set aside for the log and the reports of a run that fills the disk
Render = Callable[[RunResult], Iterable[tuple[str, str]]]  # a result in, file names and contents out, one by one


class EventLog:
    """The run's log, appended to by one thread. Its modification time is the run's heartbeat.

    A scenario may fill the disk. What cannot be written then is kept until make_room() gives back the space that was
    set aside for it, and for the reports. full: whether that has happened.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / LOG
        self.full = False
        self._kept = b""
        self._reserve = folder / RESERVE
        with explained("write the run's log", self.path):
            self._file = self.path.open("ab", buffering=0)
            with self._reserve.open("wb") as reserve:
                os.posix_fallocate(reserve.fileno(), 0, RESERVED)

    def append(self, event: AnyEvent) -> None:
        """Write one event, at once: a crash loses nothing that was shown."""
        self._kept += encode(event) + b"\n"
        try:
            while self._kept:  # a disk that is almost full takes a part
                self._kept = self._kept[self._file.write(self._kept) :]
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                with explained("write the run's log", self.path):
                    raise
            self.full = True

    def make_room(self) -> None:
        """Release the reserved disk space: nothing runs that could use it up."""
        self._reserve.unlink(missing_ok=True)
        with explained("write the run's log", self.path):
            while self._kept:
                self._kept = self._kept[self._file.write(self._kept) :]

    def beat(self) -> None:
        """Show that the run lives, without an event."""
        os.utime(self.path)

    def close(self) -> None:
        """Close the log."""
        self.make_room()
        self._file.close()


def write_reports(folder: Path, result: RunResult, render: Render) -> None:
    """Write every report of a run, and point ``latest`` to it."""
    for name, text in render(result):
        atomic_write(folder / name, text.encode("utf-8", "replace"))
    point_latest(folder)


def load_reports(render: Render) -> None:
    """Render a run in which nothing has happened, so that what the reports are made with is loaded."""
    with suppress(Exception):  # the reports themselves will tell
        for _ in render(ResultBuilder().result):
            pass


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
    with explained("finish the run's log in", folder):
        _report_killed_run(folder, render)


def _report_killed_run(folder: Path, render: Render) -> None:
    path = folder / LOG
    (folder / RESERVE).unlink(missing_ok=True)
    data = path.read_bytes() if path.exists() else b""
    events = decode_log(data)
    if not events:
        path.unlink(missing_ok=True)
        remove_empty(folder, folder.parent)
        return
    result = fold(events)
    if not result.complete:
        event = Interrupted(t=time.time(), reason="the run was killed; the next command wrote this report")
        with path.open("ab") as file:
            # A line that was cut short must not swallow this one.
            file.write((b"" if data.endswith(b"\n") else b"\n") + encode(event) + b"\n")
        result.interrupted = event.reason
    write_reports(folder, result, render)
