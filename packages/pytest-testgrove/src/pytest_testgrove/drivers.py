"""Reports where the known database drivers connect to, according to the drivers, after a connection is open.

A driver is wrapped when it is imported; without one, this costs a dictionary lookup for each import. Failed connections
are ignored. Nothing here may disturb a test: a driver that cannot be wrapped or inspected is left alone.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import functools
import inspect
import sys
from contextlib import suppress
from typing import Any, Callable, Dict, Optional, Sequence, Set, Tuple

# engine, what the user named (a host, or a socket's path), the IP address it turned out to be, port, database
Target = Tuple[str, str, str, int, str]
Tell = Callable[[Target], None]


def watch(tell: Tell) -> None:
    """Wrap the drivers that are or will be imported. tell: called once for each connection's target."""
    told: Set[Target] = set()

    def once(target: Target) -> None:
        if target not in told:
            told.add(target)
            tell(target)

    for name in _WRAPPERS:
        if name in sys.modules:
            _wrap(name, sys.modules[name], once)
    sys.meta_path.insert(0, _Finder(once))


class _Finder:
    """Finds nothing by itself: what another finder finds of a driver is wrapped once it is executed."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell

    def find_spec(self, name: str, path: Optional[Sequence[str]] = None, target: Any = None) -> Any:
        if name not in _WRAPPERS:
            return None
        for finder in sys.meta_path:
            find = None if finder is self else getattr(finder, "find_spec", None)
            spec = find(name, path, target) if find else None
            if spec is not None:
                with suppress(AttributeError):  # a loader that takes no attribute
                    self._wrap_loader(name, spec.loader)
                return spec
        return None

    def _wrap_loader(self, name: str, loader: Any) -> None:
        execute = loader.exec_module

        def exec_module(module: Any) -> None:
            execute(module)
            _wrap(name, module, self._tell)

        loader.exec_module = exec_module


def _wrap(name: str, module: Any, tell: Tell) -> None:
    with suppress(Exception):
        _WRAPPERS[name](module, tell)


def _after(owner: Any, name: str, look: Callable[[Any], Optional[Target]], tell: Tell) -> None:
    """Once a method has returned, look at its object; of a function, at what it returned."""
    original = getattr(owner, name)
    is_method = inspect.isclass(owner)

    def saw(args: Tuple[Any, ...], result: Any) -> None:
        with suppress(Exception):
            target = look(args[0] if is_method else result)
            if target is not None:
                tell(target)

    if inspect.iscoroutinefunction(original):

        @functools.wraps(original)
        async def wrapper(*args: Any, **kwargs: Any) -> Any:
            result = await original(*args, **kwargs)
            saw(args, result)
            return result
    else:

        @functools.wraps(original)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            result = original(*args, **kwargs)
            saw(args, result)
            return result

    setattr(owner, name, wrapper)


def _psycopg(module: Any, tell: Tell) -> None:
    for name in ("Connection", "AsyncConnection"):
        _after(getattr(module, name), "__init__", _of_psycopg, tell)


def _of_psycopg(connection: Any) -> Target:
    found = connection.pgconn
    address = getattr(found, "hostaddr", b"") or b""
    return _postgres(found.host.decode(), address.decode(), int(found.port), found.db.decode())


def _psycopg2(module: Any, tell: Tell) -> None:
    _after(module, "connect", _of_psycopg2, tell)


def _of_psycopg2(connection: Any) -> Target:
    info = connection.info
    return _postgres(info.host or "", info.dsn_parameters.get("hostaddr", ""), info.port, info.dbname)


def _postgres(host: str, address: str, port: int, database: str) -> Target:
    if host.startswith(("/", "@")):
        return "postgres", f"{host}/.s.PGSQL.{port}", "", 0, database
    return "postgres", host or address, address, port, database


def _asyncpg(module: Any, tell: Tell) -> None:
    _after(module.Connection, "__init__", _of_asyncpg, tell)


def _of_asyncpg(connection: Any) -> Target:
    peer = connection._transport.get_extra_info("peername")
    return _at("postgres", connection._addr, peer, connection._params.database)


def _pymysql(module: Any, tell: Tell) -> None:
    _after(module.Connection, "connect", _of_pymysql, tell)


def _of_pymysql(connection: Any) -> Target:
    named = connection.unix_socket or connection.host
    return _at("mysql", named, connection._sock.getpeername(), _text(connection.db))


def _mysqldb(module: Any, tell: Tell) -> None:
    original = module.Connection.__init__

    @functools.wraps(original)
    def wrapper(self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        with suppress(Exception):
            names = ("host", "user", "password", "database", "port")
            tell(_of_mysqldb(self, dict(zip(names, args), **kwargs)))  # noqa: B905 - Python 3.9 has no strict

    module.Connection.__init__ = wrapper


def _of_mysqldb(connection: Any, given: Dict[str, Any]) -> Target:
    """The C library reports whether it is a socket, and the host; the rest comes from the arguments."""
    host, _, how = str(connection.get_host_info()).partition(" via ")
    database = str(given.get("database") or given.get("db") or "")
    if "socket" in how.lower():
        return "mysql", str(given.get("unix_socket") or "/run/mysqld/mysqld.sock"), "", 0, database
    return "mysql", host, "", int(given.get("port") or 3306), database


def _redis(module: Any, tell: Tell) -> None:
    _after(getattr(module, "AbstractConnection", module.Connection), "connect", _of_redis, tell)


def _of_redis(connection: Any) -> Optional[Target]:
    """`connect` is called for each command: a connection that is known costs one comparison."""
    stream = getattr(connection, "_sock", None) or getattr(connection, "_writer", None)
    if stream is None or connection.__dict__.get("_testgrove_seen") is stream:
        return None
    connection._testgrove_seen = stream
    peer = stream.getpeername() if hasattr(stream, "getpeername") else stream.get_extra_info("peername")
    named = getattr(connection, "path", "") or getattr(connection, "host", "")
    return _at("redis", named, peer, str(connection.db))


def _neo4j(module: Any, tell: Tell) -> None:
    for name in ("BoltSocketBase", "AsyncBoltSocketBase"):
        _after(getattr(module, name), "__init__", _of_neo4j, tell)


def _of_neo4j(connection: Any) -> Target:
    return _at("neo4j", "", connection.getpeername(), "")


def _at(engine: str, named: Any, peer: Any, database: str) -> Target:
    """named: a host, a (host, port), or a socket's path. peer: the socket's peer address. Raises if it has none."""
    if isinstance(peer, tuple):
        host = named[0] if isinstance(named, tuple) else named
        return engine, str(host or peer[0]), str(peer[0]), int(peer[1]), database
    return engine, _text(peer) or _text(named), "", 0, database


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value or "")


_WRAPPERS: Dict[str, Callable[[Any, Tell], None]] = {
    "psycopg": _psycopg,
    "psycopg2": _psycopg2,
    "asyncpg.connection": _asyncpg,
    "pymysql.connections": _pymysql,
    "MySQLdb.connections": _mysqldb,
    "redis.connection": _redis,
    "redis.asyncio.connection": _redis,
    "neo4j._async_compat.network._bolt_socket": _neo4j,
}
