"""The graph of scenarios, its critical path, and who ran in which slot."""

from __future__ import annotations

import io

from rich.console import Console

from testgrove.core.runs import events
from testgrove.core.runs.result import ResultBuilder, RunResult, fold
from testgrove.reports import html
from testgrove.reports.figures import Tally
from testgrove.reports.graph import graph, slot_rows
from testgrove.reports.remaining import seconds_left
from testgrove.reports.terminal import picture


def a_run(*scenarios: tuple[str, tuple[str, ...], int, float, float]) -> RunResult:
    """scenarios: name, needs, slot, start, duration."""
    cells = tuple(
        events.CellInfo(
            key=name, suite=name, ref="", python="", worktree="w", command="x",
            scenario=events.ScenarioInfo(worktree="w", needs=needs),
        )
        for name, needs, *_ in scenarios
    )  # fmt: skip
    log: list[events.AnyEvent] = [
        events.RunStarted(t=100, run="r", project="p", header="h", jobs=2, cells=cells, source="s.json")
    ]
    for name, _, slot, start, duration in scenarios:
        where = {"command": "x", "worktree": "w", "python": "3", "log": "l"}
        log.append(events.AttemptStarted(t=100 + start, cell=name, attempt=1, slot=slot, **where))
        end = 100 + start + duration
        log.append(events.AttemptFinished(t=end, cell=name, attempt=1, status="passed", duration=duration))
        log.append(events.CellFinished(t=end, cell=name, status="passed"))
    return fold([*log, events.RunFinished(t=110, duration=10)])


DIAMOND = (
    ("first", (), 1, 0.0, 1.0),
    ("long & <slow>", ("first",), 1, 1.0, 5.0),
    ("short", ("first",), 2, 1.0, 1.0),
    ("last", ("long & <slow>", "short"), 1, 6.0, 2.0),
)


def test_the_critical_path_is_the_longest_chain():
    drawn = graph(a_run(*DIAMOND))
    assert drawn is not None
    assert drawn.critical == ("first", "long & <slow>", "last")
    assert drawn.seconds == 8.0
    assert [edge.critical for edge in drawn.edges].count(True) == 2
    columns = [node.x for node in drawn.nodes]
    assert columns[0] < columns[1] == columns[2] < columns[3]
    assert len({(node.x, node.y) for node in drawn.nodes}) == 4


def test_a_need_that_stands_after_what_needs_it_is_drawn():
    assert graph(a_run(*reversed(DIAMOND))) is not None


def test_without_needs_there_is_no_graph():
    assert graph(a_run(("a", (), 1, 0.0, 1.0))) is None


def test_each_slot_has_a_lane():
    one, two = slot_rows(a_run(*DIAMOND))
    assert [bar.key for bar in one.bars] == ["first", "long & <slow>", "last"]
    assert (one.slot, one.busy, two.busy) == (1, 80.0, 10.0)
    assert (one.bars[1].left, one.bars[1].width) == (10.0, 50.0)


def test_the_page_shows_both_and_names_stay_text():
    page = html.render(a_run(*DIAMOND))
    assert '<h2 id="graph">' in page
    assert '<h2 id="slots">' in page
    assert "long &amp; &lt;slow&gt;" in page
    assert "<slow>" not in page


def live_run() -> RunResult:
    """Four scenarios on three slots: one has failed, one runs, one has just got its slot, one waits."""
    names = {"bad": (), "runs": (), "comes": (), "waits": ("runs",)}
    cells = tuple(
        events.CellInfo(
            key=name, suite=name, ref="", python="", worktree="w", command="x",
            scenario=events.ScenarioInfo(worktree="w", needs=needs, expected=10.0),
        )
        for name, needs in names.items()
    )  # fmt: skip
    builder = ResultBuilder()
    for event in (
        events.RunStarted(t=0, run="r", project="p", header="h", jobs=3, cells=cells, source="s.json"),
        events.CellPhase(t=0, cell="waits", phase="waiting", reason="runs"),
        events.CellPhase(t=0, cell="bad", phase="running", slot=1),
        events.CellFinished(t=1, cell="bad", status="failed"),
        events.CellPhase(t=1, cell="runs", phase="running", slot=2),
        events.CellPhase(t=2, cell="comes", phase="environment", slot=1),
    ):
        builder.apply(event)
    return builder.result


def test_a_terminal_shows_a_line_for_each_slot_then_failures_then_who_waits_for_what():
    out = io.StringIO()
    Console(width=100, height=30, file=out, force_terminal=False).print(
        picture(live_run(), 3.0, Tally(), width=100, room=20)
    )
    lines = [line.rstrip() for line in out.getvalue().splitlines()]
    assert [line[:3].strip() for line in lines[1:4]] == ["1", "2", "3"]
    assert "environment" in lines[1]
    assert "comes" in lines[1]
    assert "runs" in lines[2]
    assert lines[3].endswith("idle")
    assert "bad" in lines[4]
    assert "waits" in lines[5]
    assert lines[5].endswith("runs")
    assert "about 18.0 s left" in lines[6]


def test_where_there_is_no_room_the_rest_is_counted():
    out = io.StringIO()
    Console(width=60, file=out).print(picture(live_run(), 3.0, Tally(), width=60, room=4))
    assert "… and 1 failed, 1 waiting" in out.getvalue()


def test_without_recorded_seconds_nothing_is_promised():
    assert seconds_left(a_run(*DIAMOND), 1.0) is None
    assert seconds_left(live_run(), 3.0) == 18.0
