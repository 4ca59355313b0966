"""How a run looks while it goes on: in a terminal of any size, in a pipe, and where nobody looks."""

from __future__ import annotations

import io
import itertools
import re
import sys

import pytest
from rich.cells import cell_len
from rich.console import Console

from reports.events_builder import START, Log
from testgrove.reports.figures import Tally
from testgrove.reports.terminal import LiveView, PlainView, QuietView, picture, view_for

CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")


@pytest.fixture(autouse=True)
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    for name in ("NO_COLOR", "COLUMNS", "LINES", "FORCE_COLOR", "TTY_INTERACTIVE", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)


def screen(width: int, height: int) -> tuple[Console, io.StringIO]:
    out = io.StringIO()
    return Console(width=width, height=height, file=out, force_terminal=True), out


def lines_of(log: Log, *, width: int = 120, room: int = 50) -> list[str]:
    """One picture of a run that goes on, as the lines it shows."""
    console, out = screen(width, 50)
    console.print(picture(log.live(), log.now, Tally(), width=width, room=room))
    return CONTROL.sub("", out.getvalue()).splitlines()


def many_cells() -> Log:
    """Sixty cells on four slots: 4 running, 2 failed, 20 passed, the others wait."""
    log = Log(*[f"suite{n:02}@main-py3.12" for n in range(60)], jobs=4)
    keys = [cell.info.key for cell in log.live().cells.values()]
    for key in keys:
        log.phase(key, "waiting", "a free slot")
    for n, key in enumerate(keys[:22]):
        bad = n in (3, 21)
        log.whole_cell(key, "failed" if bad else "passed", status="failed" if bad else "passed")
    for key in keys[22:26]:
        log.phase(key, "running").attempt(key, 300).test(key, "t.py::x")
    return log


def test_a_running_cell_shows_its_key_phase_time_and_tests_so_far() -> None:
    log = Log("unit@main-py3.12").phase("unit@main-py3.12", "environment", took=2)
    log.phase("unit@main-py3.12", "running").attempt("unit@main-py3.12", 300)
    log.test("unit@main-py3.12", "t.py::x", took=1).test("unit@main-py3.12", "t.py::y", "failed", took=1)
    header, line, _ = lines_of(log)
    assert header == "shop · working tree: 3 modified, 1 untracked · 1 cell · 2 jobs"
    assert re.fullmatch(r"\S running     unit@main-py3.12    4.0 s  1 passed, 1 failed of 300", line.strip())


def test_a_waiting_cell_shows_what_it_waits_for_and_for_how_long() -> None:
    log = Log("api").phase("api", "waiting", "the template that unit builds", took=3)
    assert re.search(r"waiting +api +3.0 s +the template that unit builds", lines_of(log)[1])


def test_a_phase_before_the_tests_is_named() -> None:
    assert re.search(r"environment +api +2.0 s", lines_of(Log("api").phase("api", "environment", took=2))[1])


def test_a_further_attempt_is_numbered() -> None:
    log = Log("api").phase("api", "running").attempt("api", 2).test("api", "t.py::x", "failed")
    log.attempt_ends("api", "failed").attempt("api", 2)
    assert lines_of(log)[1].rstrip().endswith("2 tests · attempt 2")


def test_finished_cells_are_told_apart_by_symbol_and_word() -> None:
    log = Log("a", "b", "c", "d").whole_cell("a", "passed").whole_cell("b", "failed", status="failed")
    log.whole_cell("c", "skipped").cell_ends("d", "error", "no Python 3.14")
    lines = lines_of(log)[1:5]
    assert [line.split()[:3] for line in lines] == [
        ["✓", "passed", "a"],
        ["✗", "failed", "b"],
        ["○", "skipped", "c"],
        ["!", "error", "d"],
    ]
    assert "no Python 3.14" in lines[3]


def test_the_footer_counts_cells_and_tests() -> None:
    log = Log("a", "b", "c").whole_cell("a", "passed", "passed").phase("b", "running").attempt("b")
    log.test("b", "t.py::x", "failed", took=10)
    assert lines_of(log)[-1].strip() == "1 done, 1 running, 1 waiting · 2 passed, 1 failed · 10.0 s"


@pytest.mark.parametrize("width", [12, 40, 80])
def test_a_narrow_terminal_cuts_reasons_and_no_line_is_too_long(width: int) -> None:
    key = "integration@feature/größe-日本語-py3.12"
    log = Log(key, "b").phase("b", "waiting", "wait " * 40)
    log.phase(key, "running").attempt(key, 3).test(key, "t.py::x").cell_ends(key, "error", "reason " * 40)
    lines = lines_of(log, width=width)
    assert len(lines) <= 6
    assert all(cell_len(line) <= width for line in lines)
    if width >= 40:
        assert key in "".join(lines)  # over two lines if need be


@pytest.mark.parametrize("width", [40, 80, 200])
def test_a_test_that_takes_long_is_named_whole(width: int) -> None:
    nodeid = "tests/integration/checkout/test_payment_provider.py::TestRefunds::test_partial_refund_of_a_subscription"
    log = Log("unit", "b").phase("unit", "running").attempt("unit", 3).test("unit", "t.py::x")
    log.wait(2).running("unit", nodeid, 2).wait(3)
    lines = lines_of(log, width=width)
    assert f"{nodeid} for 5.0 s".replace(" ", "") in "".join(lines).replace(" ", "")
    assert all(cell_len(line) <= width for line in lines)
    log.test("unit", nodeid)
    assert nodeid not in "".join(line.strip() for line in lines_of(log, width=width))


def test_two_lines_for_a_cell_stay_within_the_room() -> None:
    keys = [f"suite{number:02}@feature/a-very-long-name-of-a-branch-py3.12" for number in range(30)]
    log = Log(*keys)
    for key in keys:
        log.phase(key, "running").attempt(key, 3)
    lines = lines_of(log, width=60, room=12)
    assert len(lines) <= 14
    assert "more: " in lines[-2]


def test_sixty_cells_on_twenty_lines_show_the_running_and_failed_and_count_the_rest() -> None:
    lines = lines_of(many_cells(), width=79, room=17)
    assert len(lines) == 19
    text = "\n".join(lines)
    assert len(re.findall(r"running  ", text)) == 4
    assert re.search(r"failed +suite03@", text)
    assert re.search(r"failed +suite21@", text)
    assert "… and 44 cells more: 20 passed, 24 waiting" in text


def live(monkeypatch: pytest.MonkeyPatch, width: int, height: int) -> tuple[LiveView, io.StringIO]:
    """A live view of a terminal of this size."""
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("LINES", str(height))
    out = io.StringIO()
    return LiveView(out), out


def test_the_live_view_fits_sixty_cells_on_twenty_lines_of_forty_columns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    view, out = live(monkeypatch, 40, 20)
    log = many_cells()
    result = log.live()
    view.start(result)
    out.truncate(0)
    out.seek(0)
    view.update(result, log.now + 1)
    frame = CONTROL.sub("", out.getvalue()).strip("\n").split("\n")
    view.stop(result)
    assert len(frame) < 20
    assert all(cell_len(line) < 40 for line in frame)


def test_stop_leaves_a_line_for_every_cell_and_the_cursor(monkeypatch: pytest.MonkeyPatch) -> None:
    view, out = live(monkeypatch, 100, 20)
    log = many_cells()
    view.start(log.live())
    view.stop(log.live())
    assert "\x1b[?25l" in out.getvalue()
    last = out.getvalue().rsplit("\x1b[?25l", 1)[-1]
    assert last.endswith("\x1b[?25h")
    assert all(f"suite{n:02}@" in last for n in range(60))


def test_updates_that_come_too_fast_are_not_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    view, out = live(monkeypatch, 80, 20)
    result = Log("a").phase("a", "running").live()
    view.start(result)
    view.update(result, START + 1)
    size = len(out.getvalue())
    view.update(result, START + 1.05)
    assert len(out.getvalue()) == size
    view.update(result, START + 1.2)
    assert len(out.getvalue()) > size
    view.stop(result)


def test_no_color_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    def drawn() -> str:
        view, out = live(monkeypatch, 80, 20)
        log = Log("a").whole_cell("a", "failed", status="failed")
        view.start(log.live())
        view.stop(log.live())
        return out.getvalue()

    assert "\x1b[31m" in drawn()
    monkeypatch.setenv("NO_COLOR", "1")
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]m", drawn())


def test_text_in_brackets_is_no_markup() -> None:
    log = Log("a").phase("a", "waiting", "[red]slot[/red] [1]")
    assert "[red]slot[/red] [1]" in lines_of(log)[1]


class Gone(io.StringIO):
    """A terminal or a pipe whose other end was closed."""

    error: OSError | None = None

    def write(self, text: str) -> int:
        if self.error:
            raise self.error
        return super().write(text)


@pytest.mark.parametrize("kind", [LiveView, PlainView])
@pytest.mark.parametrize("error", [BrokenPipeError(32, "Broken pipe"), OSError(5, "Input/output error")])
def test_a_reader_that_went_away_does_not_end_the_run(kind: type[LiveView | PlainView], error: OSError) -> None:
    out, log = Gone(), Log("a")
    view = kind(out)
    view.start(log.live())
    out.error = error
    log.whole_cell("a", "passed")
    view.update(log.live(), log.now + 1)
    view.update(log.live(), log.now + 2)
    view.stop(log.live())


def plain(log: Log, *, steps: bool = True) -> list[str]:
    """What the plain view says when it is updated after each event."""
    out = io.StringIO()
    view, all_events = PlainView(out), log.events
    result_of = Log()
    result_of.events = all_events[:1]
    view.start(result_of.live())
    for n in range(2, len(all_events) + 1) if steps else []:
        result_of.events = all_events[:n]
        view.update(result_of.live(), all_events[n - 1].t)
    view.stop(log.live())
    return out.getvalue().splitlines()


def test_plain_lines_tell_a_cells_story_once() -> None:
    log = Log("unit").phase("unit", "waiting", "a free slot", took=2).phase("unit", "waiting", "a free slot")
    log.phase("unit", "waiting", "the template").phase("unit", "worktree", took=1).phase("unit", "running")
    log.attempt("unit", 2).test("unit", "t.py::x").test("unit", "t.py::y", "failed")
    log.attempt_ends("unit", "failed").cell_ends("unit", "failed")
    expected = [
        "shop · working tree: 3 modified, 1 untracked · 1 cell · 2 jobs",
        "unit: waiting: a free slot",
        "unit: waiting: the template",
        "unit: started in test-unit-abc",
        "unit: failed in 1.0 s, 1 passed, 1 failed",
    ]
    assert plain(log) == expected
    assert plain(log, steps=False) == expected  # however the updates fall


def test_plain_lines_tell_an_environment_once_for_all_cells_that_have_it() -> None:
    log = Log("a", "b", "c")
    for cell, source in (("a", "uv.lock"), ("b", "uv.lock"), ("c", "group test")):
        log.phase(cell, "environment").phase(cell, "environment", source)
    said = [line for line in plain(log) if line.startswith("environment")]
    assert said == ["environment: uv.lock", "environment: group test"]


def test_plain_lines_tell_attempts_and_reasons_on_one_line_each() -> None:
    log = Log("api").phase("api", "running").attempt("api").attempt_ends("api", "failed", reason="2 tests\nfailed")
    log.attempt("api").attempt_ends("api", "error").cell_ends("api", "error", "timed out after 600 s\nreally")
    assert plain(log)[2:] == [
        "api: attempt 2 after failed: 2 tests failed",
        "api: error: timed out after 600 s really",
    ]


def test_plain_lines_are_whole_and_without_escape_sequences() -> None:
    key = "integration@" + "feature/" * 40 + "x"
    log = Log(key).phase(key, "waiting", "\x1b[31mred\x1b[0m").cell_ends(key, "error", "why " * 100)
    lines = plain(log)
    assert lines[1] == f"{key}: waiting: red"
    assert lines[2].startswith(f"{key}: error: why")
    assert len(lines) == 3


def test_a_pipe_is_never_silent_for_more_than_five_seconds() -> None:
    log = Log("unit", "slow", "later").phase("later", "waiting", "a free slot").phase("slow", "environment")
    log.phase("unit", "running").attempt("unit", 34).test("unit", "t.py::a").wait(2).running("unit", "t.py::b", 2)
    out = io.StringIO()
    view = PlainView(out)
    view.start(log.live())
    said: list[float] = []
    for step in range(200):
        before = len(out.getvalue())
        view.update(log.live(), log.now + step / 10)
        said += [step / 10] * (len(out.getvalue()) > before)
    assert max(after - before for before, after in itertools.pairwise(said)) < 5
    assert out.getvalue().splitlines()[-1] == (
        f"after {said[-1] + 2.0:.1f} s: unit: 1 of 34 tests, t.py::b for {said[-1] + 2:.1f} s; "
        f"slow: environment for {said[-1] + 2:.1f} s; 1 waiting"
    )


def test_streamed_lines_have_their_cell_are_whole_and_come_once() -> None:
    log = Log("unit").phase("unit", "running").attempt("unit")
    file = io.BytesIO()
    out = io.StringIO()
    view = view_for(out, quiet=False, is_tty=True, output=lambda _run, _log, offset: file.getvalue()[offset:])
    view.start(log.live())
    for written in (b"one\nt", b"one\ntwo\x1b[31m", b"one\ntwo\x1b[31m!\n\xff", b"one\ntwo\x1b[31m!\n\xffend"):
        file = io.BytesIO(written)
        view.update(log.live(), log.now)
    assert out.getvalue().splitlines()[1:] == ["unit: started in test-unit-abc", "unit | one", "unit | two!"]
    log.attempt_ends("unit", "passed").cell_ends("unit", "passed")
    view.update(log.live(), log.now)
    view.stop(log.live())
    lines = out.getvalue().splitlines()[4:]
    assert lines[0] == "unit | \ufffdend"
    assert [line.split()[:2] for line in lines[1:]] == [["unit:", "passed"]]


def test_a_plain_line_in_an_encoding_that_lacks_a_letter_is_still_written() -> None:
    raw = io.BytesIO()
    view = PlainView(io.TextIOWrapper(raw, encoding="ascii"))
    view.start(Log("größe").live())
    assert raw.getvalue().startswith(b"shop ? working tree")


def test_each_plain_line_is_flushed() -> None:
    raw = io.BytesIO()
    view = PlainView(io.TextIOWrapper(io.BufferedWriter(raw, 1 << 20), encoding="utf-8"))  # type: ignore[arg-type]
    view.start(Log("a").live())
    assert raw.getvalue()


def test_the_view_fits_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    assert isinstance(view_for(out, quiet=True, is_tty=True), QuietView)
    assert isinstance(view_for(out, quiet=False, is_tty=False), PlainView)
    assert isinstance(view_for(out, quiet=False, is_tty=True), LiveView)
    latin = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    assert isinstance(view_for(latin, quiet=False, is_tty=True), PlainView)
    monkeypatch.setenv("TERM", "dumb")
    assert isinstance(view_for(out, quiet=False, is_tty=True), PlainView)


def test_the_quiet_view_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    view = view_for(sys.stdout, quiet=True, is_tty=True)
    result = Log("a").whole_cell("a", "failed", status="failed").finished()
    view.start(result)
    view.update(result, START + 1)
    view.stop(result)
    assert capsys.readouterr() == ("", "")
