"""Privileges of each database's role: `roles` and `superuser` of a service.

They reach the server as settings of a class of our own (``testgrove.roles``), with the project's settings. So they are
part of a template's fingerprint, and whatever makes a database on the server asks the server.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from psycopg import Connection

    from testgrove.core.settings.types import Service

_ROLES, _SUPERUSER = "testgrove.roles", "testgrove.superuser"


def settings_of(service: Service) -> Mapping[str, str]:
    """A server's settings for a service: the project's, and what its roles can do."""
    marks = {_ROLES: ",".join(service.roles), _SUPERUSER: "on" if service.superuser else ""}
    return service.settings | {name: value for name, value in marks.items() if value}


def create_role(admin: Connection[Any], role: str, verifier: str) -> list[str]:
    """Create the role of a database, as the server's settings have it; return the project's roles.

    verifier: of its password. Raises psycopg's errors, DuplicateObject among them.
    """
    from psycopg import errors, sql  # noqa: PLC0415 - heavy, and an extra

    found = admin.execute(
        "SELECT current_setting(%s, true), current_setting(%s, true)", (_ROLES, _SUPERUSER)
    ).fetchone()
    names, superuser = found or (None, None)
    may = sql.SQL(" SUPERUSER" if superuser else "")
    words = sql.SQL("CREATE ROLE {} LOGIN CREATEDB{} PASSWORD {}")
    admin.execute(words.format(sql.Identifier(role), may, sql.Literal(verifier)))
    ours = list(filter(None, (names or "").split(",")))
    for name in ours:
        with suppress(errors.DuplicateObject, errors.UniqueViolation):  # also at the same moment
            admin.execute(sql.SQL("CREATE ROLE {} NOLOGIN").format(sql.Identifier(name)))
        admin.execute(sql.SQL("GRANT {} TO {}").format(sql.Identifier(name), sql.Identifier(role)))
    return ours


def grant_public_schema(database: Connection[Any], roles: list[str]) -> None:
    """Let the project's roles own objects in the schema public of a database. Raises psycopg's errors."""
    from psycopg import sql  # noqa: PLC0415 - heavy, and an extra

    if database.execute("SELECT to_regnamespace('public')").fetchone() != (None,):
        names = sql.SQL(", ").join(map(sql.Identifier, roles))
        database.execute(sql.SQL("GRANT USAGE, CREATE ON SCHEMA public TO {}").format(names))
