"""How a run looks with the output of its suites in it: plain lines, and each line of output with its cell."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TextIO

from testgrove.reports.plain import PlainView
from testgrove.reports.wording import flat

if TYPE_CHECKING:
    from testgrove.core.runs.result import CellResult, RunResult

# What a file in a run's folder holds from an offset on, by the run's id and the file's path.
Read = Callable[[str, str, int], bytes]


class StreamedView(PlainView):
    """Plain lines, and between them what each attempt writes, as it comes, in whole lines."""

    def __init__(self, stream: TextIO, read: Read) -> None:
        super().__init__(stream)
        self._read = read
        self._run = ""
        self._offsets: dict[str, int] = {}
        self._whole: set[str] = set()

    def start(self, result: RunResult) -> None:
        """Say what is about to run."""
        self._run = result.run
        super().start(result)

    def _progress(self, cell: CellResult) -> None:
        for attempt in cell.attempts:
            if attempt.log not in self._whole:
                ended = attempt.status is not None or cell.status is not None
                self._output(flat(cell.info.key), attempt.log, ended=ended)

    def _output(self, key: str, log: str, *, ended: bool) -> None:
        """ended: a last line that nothing ends is one, too, and there will be no others."""
        offset = self._offsets.get(log, 0)
        data = self._read(self._run, log, offset)
        size = len(data) if ended else data.rfind(b"\n") + 1
        self._offsets[log] = offset + size
        if ended:
            self._whole.add(log)
        for line in data[:size].decode(errors="replace").splitlines():
            self._say(f"{key} | {flat(line)}".rstrip())


class GroupedView(StreamedView):
    """The same for GitHub Actions: what an attempt wrote comes as one group when it has ended, which can be folded."""

    def _output(self, key: str, log: str, *, ended: bool) -> None:
        if ended:
            self._say(f"::group::{key}: {flat(log)}")
            super()._output(key, log, ended=True)
            self._say("::endgroup::")
