"""Templates on an external PostgreSQL server: sealed databases to clone from; few are kept, and no old ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from testgrove.services.engines.postgres import external_sql as sql
from testgrove.services.engines.postgres.sql import end_clients, reported, run, wait_until_left

if TYPE_CHECKING:
    from psycopg import Connection

    from testgrove.core.model import DatabaseAccess
    from testgrove.services.owner_marks import Mark

PREFIX = "testgrove_template_"  # and a fingerprint
MAX_TEMPLATES = 20  # of one role on one server
MAX_DAYS = 30
_PATIENCE = 2.0  # seconds for clients that are about to leave


def add_extensions(access: DatabaseAccess, names: tuple[str, ...]) -> None:
    """Create extensions in a database. Raises UnavailableError if the role is not allowed to."""
    if names:
        with reported(f"create the extensions {', '.join(names)}"), _inside(access) as database:
            for name in names:
                run(database, "CREATE EXTENSION IF NOT EXISTS {} CASCADE", name)


def seal(session: Connection[Any], access: DatabaseAccess, name: str, mark: Mark) -> str:
    """Make a migrated database a template; what should be known. It gets its name last: then it is complete."""
    temporary = access.name
    note = "" if wait_until_left(session, temporary, _PATIENCE) else end_clients(session, temporary)
    with reported(f"seal the template {name}"):
        with _inside(access) as database:
            database.execute("ANALYZE")
        run(session, "ALTER DATABASE {} ALLOW_CONNECTIONS false", temporary)
        if not wait_until_left(session, temporary, _PATIENCE):
            end_clients(session, temporary)
        sql.set_mark(session, temporary, mark)
        run(session, "ALTER DATABASE {} RENAME TO {}", temporary, name)
    return note


def _inside(access: DatabaseAccess) -> Connection[Any]:
    import psycopg  # noqa: PLC0415 - heavy, and an extra

    return psycopg.connect(access.url(), autocommit=True, connect_timeout=10)


def all_of(session: Connection[Any]) -> list[sql.FoundDatabase]:
    """Our role's templates, the newest first; none that is still being built."""
    found = [each for each in sql.find_all(session) if each.mark and each.mark.kind == "template"]
    found = [each for each in found if each.name.startswith(PREFIX)]
    return sorted(found, key=lambda each: each.mark.age_days() if each.mark else 0.0)


def trim(session: Connection[Any]) -> None:
    """Drop the templates that are too many, or were last asked for long ago."""
    for number, found in enumerate(all_of(session)):
        if found.mark and (number >= MAX_TEMPLATES or found.mark.age_days() > MAX_DAYS):
            sql.drop(session, temporary="", name=found.name, token=found.mark.token)
