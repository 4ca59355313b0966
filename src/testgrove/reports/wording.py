"""The wording of durations, counts and test output in reports."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from testgrove.core.lazy_pattern import lazy_pattern

if TYPE_CHECKING:
    from collections.abc import Mapping

    from testgrove.core.runs.result import LeakResult

_ANSI = lazy_pattern(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # colours and cursor movements
    r"|\x1b[\]PX^_][^\x07\x1b\n]*(?:\x07|\x1b\\)?"  # titles and links, with their content
    r"|\x1b[ -/]*[0-~]?"
)
# What XML allows is left out. The other way round, it takes ten times as long to compile.
_NOT_TEXT = lazy_pattern("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
# What turns the direction of the text around it can show another test id than there is.
_DIRECTIONS = lazy_pattern("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def clean(text: str) -> str:
    """Text for XML, HTML and terminals: no escape sequences; what is not text becomes ``\ufffd``."""
    if text.isascii() and text.isprintable():
        return text
    text = _ANSI.sub("", text).replace("\r\n", "\n").replace("\r", "\n")
    return _NOT_TEXT.sub("\ufffd", text)


def flat(text: str) -> str:
    """Cleaned text on one line, whole."""
    return _DIRECTIONS.sub("\ufffd", " ".join(clean(text).splitlines()).replace("\t", " "))


def leak_line(leak: LeakResult) -> str:
    """Return a leak on one line."""
    return flat(f"{leak.kind} {leak.name}" + (f" ({leak.detail})" if leak.detail else ""))


def one_line(text: str, limit: int) -> str:
    """Return the first non-empty line, cleaned, with at most limit characters."""
    first = flat(next((line for line in map(str.strip, clean(text).splitlines()) if line), ""))
    return first if len(first) <= limit else first[: limit - 1] + "…"


def bounded(text: str, limit: int) -> str:
    """Cleaned text of about limit characters: its beginning, how much was left out, and its end."""
    if len(text) > limit:
        head, tail = limit // 4, limit - limit // 4
        text = f"{text[:head]}\n… {len(text) - limit:,} characters left out …\n{text[-tail:]}"
    return clean(text)


def seconds(value: float) -> str:
    """A duration for people: ``45 ms``, ``3.2 s``, ``2 min 05 s``, ``1 h 02 min``."""
    if value < 0.0005:
        return "0 s"
    if value < 0.0995:
        return f"{value * 1000:.0f} ms"
    if value < 59.95:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02} s"
    return f"{minutes // 60} h {minutes % 60:02} min"


def number(count: int, noun: str) -> str:
    """``1 test``, ``2 tests``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def counted(counts: Mapping[str, int]) -> str:
    """``310 passed, 2 failed``: what there is, in the mapping's order; empty where there is nothing."""
    return ", ".join(f"{count:,} {word}" for word, count in counts.items() if count)


def utc(t: float) -> str:
    """Seconds since the epoch as ISO 8601 in UTC, to the millisecond; empty for 0."""
    return datetime.fromtimestamp(t, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z") if t else ""
