"""Templates on a project's own server: few are kept, and no old ones. The comment of each records its last use."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from testgrove.services.engines.postgres import sql

if TYPE_CHECKING:
    from testgrove.services.base import Endpoint

MAX_TEMPLATES = 20  # of one project
MAX_DAYS = 30
_PREFIX, _ROLE = "template_", "building_"  # and the beginning of a fingerprint
_MARK = "testgrove: a template, last used at "
_ALL = """
SELECT datname, coalesce(shobj_description(oid, 'pg_database'), '') FROM pg_database
 WHERE datname ~ '^template_[0-9a-f]+$'
"""


def note_use(endpoint: Endpoint, name: str) -> None:
    """Write down that a template is used now."""
    from psycopg import sql as composed  # noqa: PLC0415 - heavy, and an extra

    with sql.reported(f"mark the template {name}"), sql.connect(endpoint) as admin:
        sql.run(admin, "COMMENT ON DATABASE {} IS {}", name, composed.Literal(f"{_MARK}{time.time():.0f}"))


def trim(endpoint: Endpoint) -> list[str]:
    """Drop the templates that are too many, or were last asked for long ago; their names."""
    with sql.reported("list the templates"), sql.connect(endpoint) as admin:
        found = admin.execute(_ALL).fetchall()
    by_use = sorted(((_used(comment), name) for name, comment in found), reverse=True)
    oldest = time.time() - MAX_DAYS * 86400
    gone = [name for number, (used, name) in enumerate(by_use) if number >= MAX_TEMPLATES or 0 < used < oldest]
    for name in gone:
        drop(endpoint, name)
    return gone


def _used(comment: str) -> float:
    """Return seconds since the epoch; 0 if no time is recorded."""
    text = comment.removeprefix(_MARK)
    return float(text) if comment.startswith(_MARK) and text.isdigit() else 0.0


def drop(endpoint: Endpoint, name: str) -> None:
    """Take a template away, with the role that its things belong to; nothing to do when it is not there."""
    with sql.reported(f"drop the template {name}"), sql.connect(endpoint) as admin:
        if admin.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone():
            sql.run(admin, "ALTER DATABASE {} IS_TEMPLATE false", name)
            sql.run(admin, "DROP DATABASE {}", name)
        sql.drop_role_and_databases(admin, name.replace(_PREFIX, _ROLE, 1))
