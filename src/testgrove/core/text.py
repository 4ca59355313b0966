"""Text for people."""

from __future__ import annotations

from collections.abc import Iterable


def printable(text: str) -> str:
    """A name as one line of text: line breaks, control characters and stray bytes as escapes."""
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


def some(names: Iterable[str], shown: int = 10, *, between: str = ", ", whole: str = "") -> str:
    """At most so many names on one line, then how many were left out and where all of them are."""
    given = list(names)
    if len(given) <= shown:
        return between.join(given)
    return f"{between.join(given[:shown])} and {len(given) - shown:,} more{f' (all: {whole})' if whole else ''}"
