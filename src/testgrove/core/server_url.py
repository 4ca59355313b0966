"""The URL of an external server: its address, the login, and the URLs of databases on it."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

from testgrove.core.engines.registry import engine_of
from testgrove.core.frozen import frozen
from testgrove.core.secret import Secret

if TYPE_CHECKING:
    from urllib.parse import SplitResult


@frozen
class ServerUrl:
    """A URL that was understood. host: a name, an address, or the folder of a socket; database: empty where none is
    named."""

    engine: str
    text: Secret
    user: str
    password: Secret
    host: str
    port: int
    database: str

    @property
    def location(self) -> str:
        """The server in messages and in the names of leases: no user, no password."""
        return f"{self.engine} at {self.host}:{self.port}"

    def with_database(self, name: str, user: str, password: Secret) -> Secret:
        """The URL of another database there, complete: what the environment filled in for us is in it."""
        parts = urlsplit(self.text.reveal())
        auth = quote(user, safe="") + (f":{quote(password.reveal(), safe='')}" if password.reveal() else "")
        query = [(key, value) for key, value in parse_qsl(parts.query) if key not in ("user", "password")]
        return Secret(
            _text(
                parts._replace(
                    scheme=engine_of(self.engine).aliases.get(parts.scheme, parts.scheme),
                    netloc=(f"{auth}@" if auth else "") + parts.netloc.rpartition("@")[2],
                    path=f"/{quote(name, safe='')}",
                    query=urlencode(query, safe="/"),
                )
            )
        )


def parse_server_url(engine: str, text: str) -> ServerUrl:
    """Understand a URL. Raises ValueError with what is wrong; the message has no part of the URL that could be, or
    be taken for, a password."""
    declared = engine_of(engine)
    schemes = declared.schemes
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise ValueError("invalid host or port; special characters in a password must be %-encoded") from error
    if parts.scheme not in schemes or "://" not in text:
        raise ValueError(f"expected 'embedded' or a URL that starts with {schemes[0]}://")
    if "," in parts.netloc.rpartition("@")[2]:
        raise ValueError("expected one host")
    if parts.fragment or any(character.isspace() for character in text):
        raise ValueError("'#' and white space must be written as %23 and %20 in a URL")
    query = dict(parse_qsl(parts.query))
    host = parts.hostname or query.get("host", "") or "localhost"
    return ServerUrl(
        engine,
        Secret(text),
        unquote(parts.username or query.get("user", "")),
        Secret(unquote(parts.password or query.get("password", ""))),
        host,
        port or _number(query.get("port", "")) or declared.port,
        unquote(parts.path.removeprefix("/")),
    )


def without_password(text: str) -> str:
    """A URL as it can be shown."""
    parts = urlsplit(text)
    netloc = parts.netloc
    if "@" in netloc:
        user, _, where = netloc.rpartition("@")
        user = user.partition(":")[0]
        netloc = f"{user}@{where}" if user else where
    query = [(name, value) for name, value in parse_qsl(parts.query) if name != "password"]
    return _text(parts._replace(netloc=netloc, query=urlencode(query, safe="/")))


def _text(parts: SplitResult) -> str:
    # An empty host must keep its slashes: postgresql:///name?host=/run/postgresql
    whole = urlunsplit(parts)
    return whole if "://" in whole else whole.replace(":", "://", 1)


def _number(text: str) -> int:
    try:
        return int(text or 0)
    except ValueError:
        raise ValueError("'port' is not a number") from None
