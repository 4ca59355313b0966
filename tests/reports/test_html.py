"""``report.html``: complete, self-contained, and inert whatever the tests printed."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import pytest

from reports.events_builder import Log
from testgrove.reports import html

if TYPE_CHECKING:
    from testgrove.core.runs.result import RunResult

VOID = {"meta", "link", "input", "br", "img", "hr"}
HOSTILE = (
    "</script></style></pre></details><script>alert(1)</script><img src=x onerror=alert(1)>"
    "\"' onmouseover=alert(1) x='{{ 7*7 }}{% raw %}<!-- \x1b[31mred\x1b[0m \x00\ud800"
)


class Page(HTMLParser):
    """What a browser would see: elements with their attributes, and the text. Tags must be balanced."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.parts: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open
        self.text = "".join(self.parts)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("script", "style"):
            self.parts.append(data)

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def links(self) -> list[str]:
        return [value for _, attrs in self.elements for name in ("href", "src") if (value := attrs.get(name))]


def page(result: RunResult) -> Page:
    return Page(html.render(result))


def failed_run() -> Log:
    log = Log("unit@main-py3.12", "api").phase("unit@main-py3.12", "waiting", "a free slot", took=2)
    log.phase("unit@main-py3.12", "running").attempt("unit@main-py3.12", 2)
    log.test("unit@main-py3.12", "tests/test_a.py::slow", took=9)
    log.test(
        "unit@main-py3.12",
        "tests/test_a.py::bad",
        "failed",
        message="no",
        text="E   no way",
        output="printed",
    )
    log.attempt_ends("unit@main-py3.12", "failed", exit_code=1).cell_ends("unit@main-py3.12", "failed")
    return log.cell_ends("api", "error", "no Python 3.14", "uv python install 3.14")


def test_the_page_holds_summary_cells_failures_timeline_slowest_and_attempts() -> None:
    shown = page(failed_run().finished())
    headings = re.findall(r"Cells|Failures|Timeline|Slowest tests|Attempts|Tests", shown.text)
    assert {"Cells", "Failures", "Timeline", "Slowest tests", "Attempts", "Tests"} <= set(headings)
    expected = ["working tree: 3 modified, 1 untracked", "1 failed, 1 error", "E   no way", "printed", "3.12"]
    for words in [*expected, "no Python 3.14", "uv python install 3.14", "pytest tests/unit", "main"]:
        assert words in shown.text
    bars = [attrs for tag, attrs in shown.elements if "bar" in (attrs.get("class") or "").split() and tag == "span"]
    assert [attrs["class"] for attrs in bars] == ["bar p-waiting", "bar p-running"]
    assert "a free slot" in str(bars[0]["title"])


def test_the_page_asks_the_network_for_nothing() -> None:
    text = html.render(failed_run().finished())
    shown = Page(text)
    assert all(link.startswith(("#", "./", "data:,")) for link in shown.links())
    assert not re.search(r"url\(|@import|https?://", text)
    assert not [attrs for attrs in shown.named("script") if "src" in attrs]


def test_links_lead_to_the_logs_beside_the_page() -> None:
    assert "./test-unit-abc/attempt-1.log" in page(failed_run().finished()).links()


@pytest.mark.parametrize(
    ("path", "link"),
    [
        ("javascript:alert(1)", "./javascript%3Aalert%281%29"),
        ("//evil.example/x", "./evil.example/x"),
        ("a b/größe#1?.log", "./a%20b/gr%C3%B6%C3%9Fe%231%3F.log"),
        ("", ""),
    ],
)
def test_a_path_is_never_another_scheme_or_server(path: str, link: str) -> None:
    assert html.link(path) == link


def test_hostile_content_is_text_and_nothing_else() -> None:
    harmless, key = page(failed_run().finished()), f"unit{HOSTILE}"
    log = Log(key).phase(key, "waiting", HOSTILE, took=1).phase(key, "running").attempt(key, 1)
    log.test(key, f"t.py::x[{HOSTILE}]", "failed", message=HOSTILE, text=HOSTILE, output=HOSTILE, file=HOSTILE)
    log.test(key, "t.py::s", "skipped", message=HOSTILE)
    log.attempt_ends(key, "error", reason=HOSTILE, tail=HOSTILE, survivors=(HOSTILE,))
    result = log.interrupted(HOSTILE).cell_ends(key, "error", HOSTILE, HOSTILE).finished()
    result.project = result.header = result.run = result.testgrove = HOSTILE
    text = html.render(result)
    shown = Page(text)
    assert len(shown.named("script")) == 1
    assert not shown.named("img")
    assert {name for _, attrs in shown.elements for name in attrs if name.startswith("on")} == set()
    assert {tag for tag, _ in shown.elements} <= {tag for tag, _ in harmless.elements}
    assert "49" not in re.findall(r"\{\{ 7\*7 \}\}|49", shown.text)
    assert "<img src=x onerror=alert(1)>" in shown.text
    assert "\x1b" not in text
    assert "\x00" not in text
    text.encode()


def test_only_the_pages_own_script_may_run() -> None:
    text = html.render(failed_run().finished())
    script = text.split("<script>")[1].split("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = next(attrs["content"] for attrs in Page(text).named("meta") if "http-equiv" in attrs)
    assert f"script-src 'sha256-{digest}'" in str(policy)
    assert "default-src 'none'" in str(policy)


def test_a_killed_run_is_shown_up_to_its_end() -> None:
    log = Log("unit", "api").phase("unit", "running").attempt("unit").test("unit", "t.py::x", took=5)
    shown = page(log.killed())
    assert "interrupted" in shown.text
    assert "the run was killed before the end" in shown.text
    assert "the run ended before this started" in shown.text
    assert [attrs["style"] for attrs in shown.named("span") if attrs.get("class") == "bar p-running"] == [
        "left:0.0%;width:100.0%"
    ]


def test_all_skipped_looks_otherwise_than_all_passed() -> None:
    skipped = page(Log("unit").whole_cell("unit", "skipped").finished()).text
    passed = page(Log("unit").whole_cell("unit", "passed").finished()).text
    assert skipped.count("all skipped") == 3  # title, verdict, cell
    assert "skipped" not in passed.replace("all skipped", "")
    assert "✓ passed" in passed


def test_a_flaky_test_is_named_and_both_attempts_are_shown() -> None:
    log = Log("unit").phase("unit", "running")
    log.attempt("unit").test("unit", "t.py::x", "failed").attempt_ends("unit", "failed").wait(1)
    log.attempt("unit").test("unit", "t.py::x").attempt_ends("unit", "passed").cell_ends("unit", "flaky")
    shown = page(log.finished())
    assert "flaky: t.py::x" in shown.text
    assert "2 attempts" in shown.text
    assert [attrs for attrs in shown.named("i") if attrs.get("class") == "retry"]


def test_a_test_that_fails_in_several_cells_says_so() -> None:
    log = Log("a", "b").whole_cell("a", "failed", status="failed").whole_cell("b", "failed", status="failed")
    assert page(log.finished()).text.count("fails in 2 cells") == 2


def test_long_texts_are_bounded() -> None:
    log = Log("unit").phase("unit", "running").attempt("unit")
    log.test("unit", "t.py::x", "failed", text="x" * 5_000_000, output="y" * 5_000_000, message="z" * 5_000_000)
    text = html.render(log.attempt_ends("unit", "failed", tail="t" * 5_000_000).cell_ends("unit", "failed").finished())
    assert "4,980,000 characters left out" in text
    assert len(text) < 200_000


def test_two_thousand_failing_tests_make_a_page_that_opens() -> None:
    log = Log("unit").phase("unit", "running").attempt("unit", 2000)
    for n in range(2000):
        log.test("unit", f"t.py::test_{n}", "failed", text=("E   " + "no " * 60 + "\n") * 150, message=f"no {n}")
    text = html.render(log.cell_ends("unit", "failed").finished())
    assert len(text) < 12_000_000
    shown = Page(text)
    assert len([attrs for attrs in shown.named("details") if attrs.get("class") == "test"]) == 200
    assert "t.py::test_1999" in shown.text  # the others by name


def test_more_tests_than_are_shown_are_counted_and_failures_come_first() -> None:
    log = Log("unit").phase("unit", "running").attempt("unit")
    for n in range(5_010):
        log.test("unit", f"t.py::test_{n}", "failed" if n == 5_009 else "passed")
    shown = page(log.cell_ends("unit", "failed").finished())
    assert "5,000 tests of 5,010; the others are in report.json" in shown.text
    listed = shown.text.split("the others are in report.json")[1]
    assert listed.index("t.py::test_5009") < listed.index("t.py::test_0")


def test_an_empty_run_has_a_page() -> None:
    assert "✗ error" in page(Log().finished()).text


def test_unicode_survives() -> None:
    log = Log("größe@日本-py3.12").whole_cell("größe@日本-py3.12", "failed", status="failed")
    assert "größe@日本-py3.12" in page(log.finished()).text
