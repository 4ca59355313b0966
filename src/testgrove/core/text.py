"""Text for people."""

from __future__ import annotations


def printable(text: str) -> str:
    """A name as one line of text: line breaks, control characters and stray bytes as escapes."""
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)
