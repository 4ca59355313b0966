"""When an application process is ready: the four forms of the setting, as values."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from testgrove.core.frozen import frozen

_FORMS = "expected 'http://host:port/path', 'tcp://host:port', 'log:<regular expression>' or 'command:<shell line>'"


@frozen
class HttpReady:
    """The address answers with a status below 400. target: path and query."""

    host: str
    port: int
    target: str


@frozen
class TcpReady:
    """The port accepts connections."""

    host: str
    port: int


@frozen
class LogReady:
    """Something in the process's output matches; ``^`` and ``$`` are the ends of lines."""

    pattern: re.Pattern[str]


@frozen
class CommandReady:
    """A shell line ends with status 0."""

    line: str


Ready = HttpReady | TcpReady | LogReady | CommandReady


def parse_ready(text: str) -> Ready:
    """A setting whose references are replaced, as a value. Raises ValueError with what was expected."""
    form, _, rest = text.partition(":")
    match form:
        case "http" | "tcp":
            return _parse_address(form, text)
        case "log" if rest:
            try:
                return LogReady(re.compile(rest, re.MULTILINE))
            except re.error as error:
                raise ValueError(f"invalid regular expression {rest!r}: {error}") from error
        case "command" if rest.strip():
            return CommandReady(rest.strip())
    raise ValueError(f"{_FORMS}, found '{text}'")


def _parse_address(form: str, text: str) -> Ready:
    parts = urlsplit(text)
    try:
        host, port = parts.hostname, parts.port
    except ValueError:  # a port that is no number, or none there can be
        host = port = None
    if not host or not port or parts.username or (form == "tcp" and parts.path not in ("", "/")):
        raise ValueError(f"{_FORMS}, found '{text}'")
    if form == "tcp":
        return TcpReady(host, port)
    query = f"?{parts.query}" if parts.query else ""
    return HttpReady(host, port, f"{parts.path or '/'}{query}")


def base_url(text: str) -> str:
    """Scheme, host and port of an address; empty for the forms that have none. References stay as they are."""
    match = re.match(r"(?:http|tcp)://[^/?#]+", text)
    return match[0] if match else ""
