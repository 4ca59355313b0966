"""The servers that URLs, DSNs and sets of variables lead to, as libpq and the other drivers resolve them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote

from testgrove.core.frozen import frozen
from testgrove.core.lazy_pattern import lazy_pattern

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PORTS = {"postgres": 5432, "mysql": 3306, "redis": 6379, "neo4j": 7687}
# Schemes of URLs, and the family that each belongs to. A family need not be an engine of testgrove's: connections to
# servers that testgrove does not run are recognized, too. What testgrove runs: core.engines.registry.
ENGINES = {
    **dict.fromkeys(("postgresql", "postgres", "postgis", "psql", "pgsql"), "postgres"),
    **dict.fromkeys(("mysql", "mysql2", "mariadb", "mysqlgis"), "mysql"),
    **dict.fromkeys(("redis", "rediss", "valkey", "valkeys", "unix"), "redis"),
    **dict.fromkeys(("bolt", "neo4j"), "neo4j"),
    **dict.fromkeys(("sqlite", "sqlite3", "spatialite"), "sqlite"),
}
_SOCKET_FOLDERS = ("/var/run/postgresql", "/run/postgresql", "/tmp")  # noqa: S108 - those that libpq is built with
_POSTGRES_SOCKET = lazy_pattern(r"\.s\.PGSQL\.(\d+)$")
_MYSQL_SOCKETS = lazy_pattern(r"(^|/)(mysqld?|mariadb)\.sock$")
_URL = lazy_pattern(r"(?:jdbc:)?([A-Za-z0-9]+)(\+[A-Za-z0-9+_.-]+)?:(//)?(.*)", re.DOTALL)
_WORD = lazy_pattern(r"\s*(\w+)\s*=\s*(?:'((?:[^'\\]|\\.)*)'|((?:[^\s'\\]|\\.)*))")


@frozen
class Address:
    """A server that a connection leads to.

    engine: the family (see ENGINES); empty where only a socket was seen. host: a name or an IP address, in lower case;
    empty for a Unix socket, whose path is socket. database: its name or number, of SQLite the file; None where it is
    not known. service: of PostgreSQL, one that no service file explains.
    """

    engine: str
    host: str = ""
    port: int = 0
    socket: str = ""
    database: str | None = None
    service: str = ""

    def __str__(self) -> str:
        """The address as a message shows it: no user, no password."""
        if self.engine == "sqlite":
            return f"sqlite file {self.database}"
        where = f"service '{self.service}'" if self.service else self.permission
        return " ".join(filter(None, [self.engine, where, f"database '{self.database}'" if self.database else ""]))

    @property
    def is_file(self) -> bool:
        """Whether it is a file, not a server."""
        return self.engine == "sqlite"

    @property
    def is_numbered(self) -> bool:
        """Whether databases have numbers, of which each is another one."""
        return self.engine == "redis"

    @property
    def permission(self) -> str:
        """The server's name in the setting ``allow_connections``."""
        if self.socket:
            return self.socket
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_local(self) -> bool:
        """Return whether the address is on this machine, as far as it shows."""
        return bool(self.socket) or is_loopback(self.host)


def same_server(one: Address, other: Address) -> bool:
    """Return whether two addresses lead to one server: localhost is 127.0.0.1, ::1 and the usual socket of the same
    port."""
    if one.engine and other.engine and one.engine != other.engine:
        return False
    if one.socket and other.socket:
        return one.socket == other.socket or (_usual_port(one.socket) or -1) == _usual_port(other.socket)
    if one.socket or other.socket:
        socket, tcp = (one, other) if one.socket else (other, one)
        return is_loopback(tcp.host) and _usual_port(socket.socket) == tcp.port
    return one.port == other.port and (one.host == other.host or (is_loopback(one.host) and is_loopback(other.host)))


def resolve_url(text: str, environ: Mapping[str, str], service_file: str = "") -> tuple[Address, ...]:
    """Return where the URL of a database, or a DSN of libpq's (``host=… dbname=…``), leads; of several hosts, each.

    Empty where the text is no database's. environ: the variables of the process that connects. service_file: the text
    of PostgreSQL's service file.
    """
    match = _URL.fullmatch(text.strip())
    if match is None:
        words = _keywords(text)
        return resolve_postgres(words, environ, service_file) if words else ()
    engine = ENGINES.get(match[1].lower(), "")
    if not engine:
        return ()
    if engine == "sqlite":
        return (Address("sqlite", database=_sqlite_file(match[4])),) if match[3] else ()
    netloc, path, query = _parts(match[4])
    if engine == "postgres":
        given = {"dbname": unquote(path)} if path else {}
        return resolve_postgres(given | _hosts(netloc) | query, environ, service_file)
    if match[1].lower() == "unix":
        return (Address("redis", socket=unquote(f"{netloc}/{path}"), database=query.get("db", "0")),)
    return tuple(_resolve(engine, netloc, path, query))


def resolve_postgres(
    parameters: Mapping[str, str], environ: Mapping[str, str], service_file: str = ""
) -> tuple[Address, ...]:
    """Resolve libpq's parameters: they come first, then the service's, then the variables, then the defaults."""
    given = {name: value for name, value in parameters.items() if value}
    service = given.get("service") or environ.get("PGSERVICE", "")
    known = _service(service, service_file) if service else {}
    variables = {"host": "PGHOST", "hostaddr": "PGHOSTADDR", "port": "PGPORT", "dbname": "PGDATABASE", "user": "PGUSER"}
    found = {name: environ[variable] for name, variable in variables.items() if environ.get(variable)}
    if "host" in given or "host" in known:  # a host that is named is not overruled by the address of another one
        found.pop("hostaddr", None)
    found |= known | given
    if "://" in found.get("dbname", "") or "=" in found.get("dbname", ""):
        return resolve_url(found["dbname"], environ, service_file)
    database = found.get("dbname") or found.get("user") or None
    if service and not known and not {"host", "hostaddr"} & given.keys():
        return (Address("postgres", database=database, service=service),)
    hosts = (found.get("hostaddr") or found.get("host") or _SOCKET_FOLDERS[0]).split(",")
    ports = found.get("port", "").split(",")
    return tuple(
        _postgres(host.strip(), ports[min(number, len(ports) - 1)], database) for number, host in enumerate(hosts)
    )


def file_address(path: str) -> Address:
    """An SQLite file."""
    return Address("sqlite", database=path)


def is_for_maintenance(database: str, *engines: str) -> bool:
    """Return whether clients of one of the engines connect to that database to create and drop others."""
    return database in ("postgres", "template1") and "postgres" in engines


def parse_permission(text: str) -> Address:
    """An entry of ``allow_connections``. Raises ValueError with what was expected."""
    if text.startswith("/") and len(text) > 1 and not text.endswith("/"):
        return Address("", socket=text)
    match = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+):(\d{1,5})", text)
    if match is None or not 0 < int(match[2]) < 65536:
        raise ValueError(f"expected 'host:port' or the path of a Unix socket, found '{text}'")
    return Address("", _host(match[1]), int(match[2]))


def _postgres(host: str, port: str, database: str | None) -> Address:
    number = int(port) if port.isdigit() else PORTS["postgres"]
    if not host or host.startswith(("/", "@")):
        return Address("postgres", socket=f"{host or _SOCKET_FOLDERS[0]}/.s.PGSQL.{number}", database=database)
    return Address("postgres", _host(host), number, database=database)


def _resolve(engine: str, netloc: str, path: str, query: Mapping[str, str]) -> Iterator[Address]:
    socket = query.get("unix_socket", query.get("socket", ""))
    database = query.get("db") or unquote(path.partition("/")[0]) or ("0" if engine == "redis" else None)
    if socket:
        yield Address(engine, socket=socket, database=database)
        return
    hosts = _hosts(netloc)
    ports = hosts.get("port", "").split(",")
    for number, host in enumerate((hosts.get("host") or query.get("host") or "localhost").split(",")):
        port = ports[min(number, len(ports) - 1)] or query.get("port", "")
        yield Address(engine, _host(host), int(port) if port.isdigit() else PORTS[engine], database=database)


def _parts(text: str) -> tuple[str, str, dict[str, str]]:
    """Split the part after ``//``: host and port without the user, the path without its slash, the query."""
    before, _, query = text.partition("#")[0].partition("?")
    netloc, _, path = before.partition("/")
    return netloc.rpartition("@")[2], path, dict(parse_qsl(query))


def _hosts(netloc: str) -> dict[str, str]:
    """``host`` and ``port`` of a URL as libpq has them, each with commas where there are several."""
    hosts, ports = [], []
    for one in netloc.split(","):
        match = re.fullmatch(r"(\[[^\]]*\]|[^:]*)(?::(\d*))?", one)
        hosts.append(unquote(match[1]) if match else one)
        ports.append((match[2] or "") if match else "")
    return {"host": ",".join(hosts) if any(hosts) else "", "port": ",".join(ports) if any(ports) else ""}


def _keywords(text: str) -> dict[str, str]:
    """The parameters of a DSN such as ``host=db dbname=shop``; empty where it is none."""
    found, position = {}, 0
    while match := _WORD.match(text, position):
        value = match[2] if match[2] is not None else match[3]
        found[match[1]] = re.sub(r"\\(.)", r"\1", value)
        position = match.end()
    whole = not text[position:].strip()
    return found if whole and {"host", "hostaddr", "port", "dbname", "service", "user"} & found.keys() else {}


def _service(name: str, text: str) -> dict[str, str]:
    import configparser  # noqa: PLC0415 - a service file is rare

    parser = configparser.RawConfigParser(strict=False, comment_prefixes=("#",), delimiters=("=",))
    try:
        parser.read_string(text)
        return {key: value for key, value in parser.items(name) if value} if parser.has_section(name) else {}
    except configparser.Error:
        return {}


def _sqlite_file(path: str) -> str:
    """SQLAlchemy's and Django's URLs: three slashes for a relative path, four for an absolute one."""
    return unquote(path.partition("?")[0].removeprefix("/")) or ":memory:"


def _host(text: str) -> str:
    """In one form: lower case, without brackets and zone, an IPv4 address that is mapped into IPv6 as itself."""
    host = unquote(text).strip("[]").partition("%")[0].rstrip(".").lower()
    if ":" not in host:  # a name, or an IPv4 address
        return host
    import ipaddress  # noqa: PLC0415 - every command reads the settings, and few have an IPv6 address in them

    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)


def is_loopback(host: str) -> bool:
    """Return whether a host in the form of Address.host is this machine itself."""
    if host in ("localhost", "localhost.localdomain", "ip6-localhost", "0.0.0.0", "::", "::1"):  # noqa: S104 - for clients
        return True
    return host.endswith(".localhost") or re.fullmatch(r"127(\.\d+){3}", host) is not None


def _usual_port(socket: str) -> int:
    """The TCP port of the server whose socket this is by custom; 0 for a socket in a place of its own."""
    folder = socket.rpartition("/")[0]
    if (match := _POSTGRES_SOCKET.search(socket)) and folder in _SOCKET_FOLDERS:
        return int(match[1])
    if _MYSQL_SOCKETS.search(socket) and folder.startswith(("/run", "/var", "/tmp")):  # noqa: S108 - where servers have it
        return PORTS["mysql"]
    return PORTS["redis"] if re.search(r"^(/var)?/run/(redis|valkey)", socket) else 0
