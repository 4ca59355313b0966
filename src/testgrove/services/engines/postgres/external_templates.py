"""Templates on an external PostgreSQL server: sealed databases to clone from; few are kept, and no old ones."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from testgrove.services.engines.postgres import external_sql as sql
from testgrove.services.engines.postgres.sql import connect_as_owner, reported, run, shut

if TYPE_CHECKING:
    from psycopg import Connection

    from testgrove.core.model import DatabaseAccess
    from testgrove.services.owner_marks import Mark

PREFIX = "testgrove_template_"  # and a fingerprint
MAX_TEMPLATES = 20  # of one role on one server
MAX_DAYS = 30


def seal(session: Connection[Any], access: DatabaseAccess, name: str, mark: Mark) -> str:
    """Make a migrated database a template; what should be known. It gets its name last: then it is complete."""
    temporary = access.name
    with reported(f"seal the template {name}"):
        note = shut(session, temporary, partial(connect_as_owner, access))
        sql.set_mark(session, temporary, mark)
        run(session, "ALTER DATABASE {} RENAME TO {}", temporary, name)
    return note


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
