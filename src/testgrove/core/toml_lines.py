"""The line of a key in the text of a TOML file, for people, without a full parser."""

from __future__ import annotations

from testgrove.core.lazy_pattern import lazy_pattern

_TABLE = lazy_pattern(r"\s*\[\[?([^\[\]]+)\]\]?\s*(?:#.*)?$")
_KEY = lazy_pattern(r"\s*((?:[\w-]+|\"[^\"]*\"|'[^']*')(?:\s*\.\s*(?:[\w-]+|\"[^\"]*\"|'[^']*'))*)\s*=")
_PART = lazy_pattern(r"\"([^\"]*)\"|'([^']*)'|([\w-]+)")


def line_of(text: str, key: str) -> int:
    """The number of the line that sets a dotted key, else of the nearest table that it is in; 0 where none is found."""
    wanted = [part.partition("[")[0] for part in key.split(".")]
    best, line = 0, 0
    table: list[str] = []
    for number, content in enumerate(text.splitlines(), 1):
        if head := _TABLE.match(content):
            path = table = _parts(head[1])
        elif found := _KEY.match(content):
            path = [*table, *_parts(found[1])]
        else:
            continue
        if len(path) > best and path == wanted[: len(path)]:
            best, line = len(path), number
    return line


def table_line(text: str, name: str) -> int:
    """The number of the first line that begins a table, or one in it; 0 where there is none."""
    heads = ((number, _TABLE.match(content)) for number, content in enumerate(text.splitlines(), 1))
    wanted = name.split(".")
    return next((number for number, head in heads if head and _parts(head[1])[: len(wanted)] == wanted), 0)


def _parts(text: str) -> list[str]:
    return [next(filter(None, match.groups()), "") for match in _PART.finditer(text)]
