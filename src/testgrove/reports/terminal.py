"""How a run looks in a terminal while it goes on: a line for each cell, redrawn in place."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol, TextIO

from testgrove.core.frozen import frozen
from testgrove.reports.figures import BAD, Tally, all_skipped, cell_duration
from testgrove.reports.plain import PlainView, QuietView, run_line, slowest_now
from testgrove.reports.remaining import seconds_left
from testgrove.reports.streamed import GroupedView, Read, StreamedView
from testgrove.reports.summary import STYLES, summary
from testgrove.reports.wording import counted, flat, number, seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from rich.console import Console, Group
    from rich.text import Text

    from testgrove.core.runs.result import CellResult, RunResult

__all__ = ["LiveView", "PlainView", "QuietView", "View", "summary", "view_for"]

FRAME = 0.12  # seconds between two pictures, at least
_FOLDED = 4  # lines of one cell, as a rule at most
_NARROW = 40  # columns below which names are cut
_BEFORE_KEY = 14  # columns
SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
SYMBOLS = {
    "passed": "✓",
    "failed": "✗",
    "error": "!",
    "flaky": "~",
    "skipped": "○",
    "cancelled": "-",
    "waiting": "·",
}
ORDER = ("running", "failed", "waiting", "done")  # who is shown first where there is no room for all


class View(Protocol):
    """Shows a run while it goes on. now: seconds since the epoch."""

    def start(self, result: RunResult) -> None: ...
    def update(self, result: RunResult, now: float) -> None: ...
    def stop(self, result: RunResult) -> None: ...


def view_for(stream: TextIO, *, quiet: bool, is_tty: bool, output: Read | None = None) -> View:
    """The view that fits: nothing when quiet, redrawn in place on a terminal that can, else plain lines.

    output: what reads the suites' output, which is then shown as it comes, between plain lines; in GitHub Actions, in
    groups that can be folded.
    """
    if quiet:
        return QuietView()
    if output:
        return (GroupedView if os.environ.get("GITHUB_ACTIONS") == "true" else StreamedView)(stream, output)
    capable = "utf" in (getattr(stream, "encoding", None) or "utf-8").lower()
    if is_tty and capable and os.environ.get("TERM", "dumb").lower() not in ("dumb", "unknown"):
        return LiveView(stream)
    return PlainView(stream)


class LiveView:
    """One line for each cell: state, key, time, tests so far, what it waits for. No threads of its own.

    When there are more cells than lines, the running and the failed ones are shown and the rest is counted.
    """

    def __init__(self, stream: TextIO) -> None:
        from rich.live import Live  # noqa: PLC0415 - only a terminal pays for rich

        self._console = _console(stream)
        self._live = Live(
            console=self._console,
            auto_refresh=False,
            vertical_overflow="crop",
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._tally = Tally()
        self._shown = 0.0
        self._gone = False

    def start(self, result: RunResult) -> None:
        """Draw for the first time and hide the cursor: stop() must be called, whatever happens."""
        self._draw(result, result.ended, whole=False)
        self._attempt(self._live.start)
        self._attempt(self._live.refresh)

    def update(self, result: RunResult, now: float) -> None:
        """Draw again, unless the last picture is younger than a frame."""
        if not 0 <= now - self._shown < FRAME:
            self._shown = now
            self._draw(result, now, whole=False)
            self._attempt(self._live.refresh)

    def stop(self, result: RunResult) -> None:
        """Leave a last picture with every cell, and the cursor."""
        self._draw(result, result.ended, whole=True)
        self._gone = False
        self._attempt(self._live.stop)

    def _attempt(self, action: Callable[[], None]) -> None:
        if self._gone:
            return
        try:
            action()
        except OSError:  # the terminal is closed; the run continues and writes its reports
            self._gone = True

    def _draw(self, result: RunResult, now: float, *, whole: bool) -> None:
        # One column and one line stay free: terminals differ in what they do when the last one is written.
        width = max(10, self._console.width - 1)
        room = len(result.cells) * _FOLDED if whole else max(1, self._console.height - 3)
        self._live.update(picture(result, now, self._tally, width=width, room=room))


def _console(stream: TextIO) -> Console:
    from rich.console import Console  # noqa: PLC0415 - only a terminal pays for rich

    class SteadyConsole(Console):
        def on_broken_pipe(self) -> None:  # rich's own would end the process
            self.quiet = True

    return SteadyConsole(file=stream, force_terminal=True, highlight=False, markup=False)


def picture(result: RunResult, now: float, tally: Tally, *, width: int, room: int) -> Group:
    """Return the terminal's contents: header, at most room lines of cells, footer; nothing wider than width."""
    from rich.text import Text  # noqa: PLC0415

    if result.source and any(cell.status is None for cell in result.cells.values()):
        lines = _slots(result, now, tally, width=width, room=room)
    else:
        lines = _cells(result, now, tally, width=width, room=room)
    return _fitted([Text(run_line(result), style="bold"), *lines, _footer(result, now, tally)], width)


def _cells(result: RunResult, now: float, tally: Tally, *, width: int, room: int) -> list[Text]:
    """A line for each cell, or two where one is too short; those for which there is no room are counted."""
    from rich.text import Text  # noqa: PLC0415

    cells = list(result.cells.values())
    rows = {cell.info.key: _row(cell, now, tally) for cell in cells}
    key_width = _key_width(cells, width)
    places = room
    while True:
        shown, hidden = _choose(cells, places)
        lines = [line for cell in shown for line in _lines(rows[cell.info.key], key_width, width)]
        excess = len(lines) + bool(hidden) - room
        if excess <= 0 or places == 1:
            break
        places = max(1, places - max(1, excess // 2))
    if hidden:
        counts = counted(Counter(_word(cell) for cell in hidden))
        lines.append(Text(f"… and {number(len(hidden), 'cell')} more: {counts}", style="dim"))
    return lines


def _key_width(cells: Iterable[CellResult], width: int) -> int:
    from rich.cells import cell_len  # noqa: PLC0415

    return min(max((cell_len(flat(cell.info.key)) for cell in cells), default=0), max(16, width - 50))


def _fitted(lines: list[Text], width: int) -> Group:
    from rich.console import Group  # noqa: PLC0415

    for line in lines:
        line.no_wrap, line.overflow = True, "ellipsis"
        line.truncate(width, overflow="ellipsis")
    return Group(*lines)


def _slots(result: RunResult, now: float, tally: Tally, *, width: int, room: int) -> list[Text]:
    """A run of scenarios: a line for each slot, then what failed, then who waits for what, as far as there is room."""
    from rich.text import Text  # noqa: PLC0415

    open_cells = [cell for cell in result.cells.values() if cell.status is None]
    inside = {cell.phase.slot: cell for cell in open_cells if cell.phase and cell.phase.slot}
    failed = [cell for cell in result.cells.values() if _group(cell) == "failed"]
    failed.sort(key=lambda cell: -(cell.finished or 0.0))
    waiting = [cell for cell in open_cells if cell.phase is None or not cell.phase.slot]
    key_width = _key_width(result.cells.values(), width - 5)
    lines = []
    for slot in range(1, result.jobs + 1):
        own = [Text("· idle", style="dim")]
        if slot in inside:
            own = _lines(_row(inside[slot], now, tally), key_width, width - 3)
        lines += [Text.assemble((f"{'' if at else slot:>2} ", "dim"), line) for at, line in enumerate(own)]
    rest = [_line(_row(cell, now, tally), key_width) for cell in [*failed, *waiting]]
    left = max(1, room - len(lines))
    if len(rest) > left:
        hidden = Counter(_word(cell) for cell in [*failed, *waiting][left - 1 :])
        rest = [*rest[: left - 1], Text(f"… and {counted(hidden)}", style="dim")]
    return [*lines, *rest]


@frozen
class _Row:
    """What one cell's line shows. test: the one that takes long."""

    symbol: str
    word: str
    key: str
    time: str
    detail: str
    style: str
    test: str = ""


def _row(cell: CellResult, now: float, tally: Tally) -> _Row:
    """Return the text of one cell's line."""
    counts = tally.of(cell)
    word, phase = _word(cell), cell.phase
    tests = counted(counts)
    if cell.status is not None:
        detail = " · ".join(filter(None, [tests, flat(cell.reason)]))
        style = STYLES["skipped"] if all_skipped(cell) else STYLES[cell.status]
        return _Row(SYMBOLS[word], word, flat(cell.info.key), seconds(cell_duration(cell, now)), detail, style)
    if phase is None or phase.phase == "waiting":
        waited = seconds(max(0.0, now - phase.start)) if phase else ""
        detail = " · ".join(filter(None, [flat(phase.reason) if phase else "", tests]))
        return _Row(SYMBOLS["waiting"], word, flat(cell.info.key), waited, detail, "dim")
    symbol = SPINNER[int(now / FRAME) % len(SPINNER)]
    style = "red" if any(counts[outcome] for outcome in BAD) else "cyan"
    slow = slowest_now(cell.last, now) if cell.last else ""
    detail = " · ".join(filter(None, [_progress(cell, tests), _attempt(cell), flat(phase.reason)]))
    return _Row(symbol, word, flat(cell.info.key), seconds(cell_duration(cell, now)), detail, style, slow)


def _progress(cell: CellResult, tests: str) -> str:
    """``123 passed, 2 failed of 300``."""
    if cell.last is None or cell.last.selected is None:
        return tests
    return f"{tests} of {cell.last.selected:,}" if tests else number(cell.last.selected, "test")


def _attempt(cell: CellResult) -> str:
    return f"attempt {len(cell.attempts)}" if len(cell.attempts) > 1 else ""


def _word(cell: CellResult) -> str:
    """A cell's state in a word: how it ended, else its phase."""
    if cell.status is not None:
        return "skipped" if all_skipped(cell) else cell.status
    return cell.phase.phase if cell.phase else "waiting"


def _lines(row: _Row, key_width: int, width: int) -> list[Text]:
    """One line for a row; more where its key, or the test that it runs, would have to be cut.

    The detail is prose: it is cut."""
    from rich.cells import cell_len  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    whole = _line(replace(row, detail=" · ".join(filter(None, [row.detail, row.test]))), key_width)
    if width < _NARROW or (cell_len(row.key) <= key_width and (not row.test or whole.cell_len <= width)):
        return [whole]
    lines = [_line(row, key_width)]
    if cell_len(row.key) > key_width:
        parts = [f"{row.time:>{_BEFORE_KEY + key_width - 1}}", row.detail]
        lines = [*_folded(f"{row.symbol} {row.word:<11} {row.key}", width), Text("  ".join(filter(None, parts)))]
        lines[0].stylize(row.style, 0, _BEFORE_KEY)
    return [*lines, *(_folded(row.test, width - 4, indent="    ") if row.test else ())]


def _folded(text: str, width: int, indent: str = "") -> list[Text]:
    from rich.cells import chop_cells  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    return [Text(f"{indent}{part}") for part in chop_cells(text, width)]


def _line(row: _Row, key_width: int) -> Text:
    from rich.text import Text  # noqa: PLC0415

    key = Text(row.key, style="bold" if row.style != "dim" else "")
    key.truncate(key_width, overflow="ellipsis", pad=True)
    return Text.assemble(
        (f"{row.symbol} {row.word:<11} ", row.style),
        key,
        (f" {row.time:>8}", "dim"),
        f"  {row.detail}",
    )


def _footer(result: RunResult, now: float, tally: Tally) -> Text:
    from rich.text import Text  # noqa: PLC0415

    cells = Counter(_group(cell) for cell in result.cells.values())
    tests: Counter[str] = Counter()
    for cell in result.cells.values():
        tests.update(tally.of(cell))
    words = {
        "done": cells["done"],
        "failed": cells["failed"],
        "running": cells["running"],
        "waiting": cells["waiting"],
    }
    parts = [counted(words), counted(tests), seconds(max(0.0, now - result.started))]
    if (left := seconds_left(result, now)) is not None:
        parts.append(f"about {seconds(left)} left")
    if result.interrupted:
        parts.insert(0, f"interrupted: {flat(result.interrupted)}")
    return Text(" · ".join(filter(None, parts)), style="yellow" if result.interrupted else "dim")


def _group(cell: CellResult) -> str:
    """running, failed, waiting or done: what decides who is shown."""
    if cell.status is not None:
        return "failed" if cell.status in ("failed", "error") else "done"
    return "waiting" if cell.phase is None or cell.phase.phase == "waiting" else "running"


def _choose(cells: list[CellResult], room: int) -> tuple[list[CellResult], list[CellResult]]:
    """Return which cells get a line, in the plan's order, and which are only counted (that takes a line, too)."""
    if len(cells) <= room:
        return cells, []
    by_group: dict[str, list[CellResult]] = {group: [] for group in ORDER}
    for cell in cells:
        by_group[_group(cell)].append(cell)
    by_group["failed"].sort(key=lambda cell: -(cell.finished or 0.0))  # the newest are news
    chosen = [cell for group in ORDER for cell in by_group[group]][: room - 1]
    keys = {cell.info.key for cell in chosen}
    return [cell for cell in cells if cell.info.key in keys], [cell for cell in cells if cell.info.key not in keys]
