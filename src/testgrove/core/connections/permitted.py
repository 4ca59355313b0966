"""Decides whether a connection leads to a worktree's own server or database, or to a foreign one."""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import TYPE_CHECKING

from testgrove.core.connections.addresses import (
    Address,
    file_address,
    is_for_maintenance,
    parse_permission,
    resolve_postgres,
    resolve_url,
    same_server,
)
from testgrove.core.engines.registry import engine_of
from testgrove.core.frozen import frozen
from testgrove.core.lazy_pattern import lazy_pattern

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from testgrove.core.model import DatabaseAccess

SETTING = "allow_connections"
_OURS = "testgrove_"  # how templates and clones begin on the servers of others
_LIBPQ = ("PGHOST", "PGHOSTADDR", "PGPORT", "PGDATABASE", "PGUSER", "PGSERVICE", "PGSERVICEFILE")
_PASSWORDS = (
    lazy_pattern(r"(://[^:/@\s]*:)\S+(?=@)"),
    lazy_pattern(r"(\bpass(?:word|wd)?=)\S+", re.IGNORECASE),
    lazy_pattern(r"(\bredis-cli\b.* -a +)\S+"),
    lazy_pattern(r"(\b(?:mysql|mariadb)\w*\b.* -p)\S+"),
)


@frozen
class PermittedConnections:
    """The addresses that a worktree may connect to.

    own: testgrove's servers, with any database. external: databases on external servers. allowed: addresses that the
    settings permit. folders: every SQLite file in them is the worktree's own.
    """

    own: tuple[Address, ...] = ()
    external: tuple[Address, ...] = ()
    allowed: tuple[Address, ...] = ()
    folders: tuple[PurePath, ...] = ()

    def permits(self, address: Address) -> bool:
        """Return whether a connection to the address is the worktree's own affair."""
        if address.is_file:
            named = any(one.database == address.database for one in self.external if one.is_file)
            return named or _is_inside(address.database or ":memory:", self.folders)
        if address.service:
            return False
        if any(same_server(address, one) for one in (*self.own, *self.allowed)):
            return True
        return any(same_server(address, one) and _same_database(address, one) for one in self.external)


def permitted_for(
    databases: Mapping[str, DatabaseAccess],
    folders: Iterable[PurePath],
    allowed: Iterable[str],
    environ: Mapping[str, str] | None = None,
) -> PermittedConnections:
    """Return what a worktree with these databases may connect to.

    folders: its own (see PermittedConnections). allowed: the setting. environ: the variables that complete the URL of
    an external server.
    """
    own: list[Address] = []
    external: list[Address] = []
    for access in databases.values():
        engine = engine_of(access.engine)
        if access.external_url is not None:
            external += resolve_url(access.external_url.reveal(), environ or {})
        elif engine.isolation == "file":
            external.append(file_address(access.name))
        else:
            own.append(Address(engine.name, access.host, access.port))
            if access.socket_dir and engine.socket:
                own.append(Address(engine.name, socket=f"{access.socket_dir}/{engine.socket.format(port=access.port)}"))
    return PermittedConnections(tuple(own), tuple(external), tuple(map(parse_permission, allowed)), tuple(folders))


def foreign_addresses(
    text: str, permitted: PermittedConnections, environ: Mapping[str, str], service_file: str = ""
) -> tuple[Address, ...]:
    """Return the foreign addresses of a URL or DSN; empty if it is not a database URL. See resolve_url()."""
    return tuple(one for one in resolve_url(text, environ, service_file) if not permitted.permits(one))


@frozen
class ForeignConnection:
    """A connection to a foreign server or database.

    what: a variable, a driver or a process. where: the place that caused it, if known."""

    address: Address
    what: str
    where: str = ""

    def __str__(self) -> str:
        where = f" ({self.where})" if self.where else ""
        return (
            f"{self.what} {self.address}, which does not belong to this worktree{where}; {how_to_permit(self.address)}"
        )


def how_to_permit(address: Address) -> str:
    """Return the way to permit an address."""
    if address.is_file:
        return "use the file in $SQLITE_PATH, or one in the worktree"
    if address.service:
        return f"remove the service '{address.service}', or allow its server in [tool.testgrove]: {SETTING}"
    return f'to allow it, set in [tool.testgrove]: {SETTING} = ["{address.permission}"]'


def shown_command(command: str) -> str:
    """A command line without the passwords in it."""
    for pattern in _PASSWORDS:
        command = pattern.sub(r"\1****", command)
    return command


def variable_leads(name: str, environ: Mapping[str, str], service_file: str = "") -> tuple[Address, ...]:
    """Return the addresses of a variable, with those that complete it; empty if it names no database."""
    if name == "SQLITE_PATH":
        return (file_address(environ[name]),) if environ.get(name) else ()
    if name in _LIBPQ:
        return resolve_postgres({}, environ, service_file)
    return resolve_url(environ.get(name, ""), environ, service_file)


def _same_database(address: Address, external: Address) -> bool:
    """Return whether an address on an external server is the permitted database, or was derived from it.

    Test runners create databases next to it: ``test_<name>``, ``<name>_gw0``.
    """
    name, ours = address.database, external.database
    if name is None or ours is None or name == ours:
        return True
    if address.is_numbered or external.is_numbered:
        return False
    if is_for_maintenance(name, address.engine, external.engine):
        return True
    return name.startswith(_OURS) or re.search(rf"(^|_){re.escape(ours)}(_|$)", name) is not None


def _is_inside(file: str, folders: Iterable[PurePath]) -> bool:
    """Return whether an SQLite file is in memory, or in one of the folders. A relative path is: tests run there."""
    if file in ("", ":memory:") or file.startswith("file::memory:") or "mode=memory" in file:
        return True
    path = PurePath(file.removeprefix("file:").partition("?")[0])
    return ".." not in path.parts and (not path.is_absolute() or any(map(path.is_relative_to, folders)))
