"""Which migration tool a project uses.

Its own command, as the settings have it, is changed as little as can be (``cd backend && poetry run alembic -c x.ini
upgrade head`` → ``… downgrade 0003``), so that each step runs as the whole migration does.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from testgrove.core.migrations.alembic import Alembic
from testgrove.core.migrations.django import Django
from testgrove.core.migrations.sql_files import SqlFiles, is_migration
from testgrove.core.migrations.tool import Tool
from testgrove.errors import UsageError


def find_tool(migrate: str, files: Iterable[tuple[str, bytes]], *, table: str) -> Tool:
    """The tool behind a migration command. files: the project's inputs; table: of the settings, for messages.

    Raises UsageError (``no-migration-tool``).
    """
    if found := re.search(r"\balembic\b[^;&|\n]*?\bupgrade\s+heads?(?=\s|$|[;&|)])", migrate):
        return Alembic(migrate[: found.end()])
    if found := re.search(r"\bflask\b[^;&|\n]*?\bdb\s+upgrade(\s+heads?)?(?=\s*(?:$|[;&|)]))", migrate):
        return Alembic(migrate[: found.end()])
    if found := re.search(r"(?:manage\.py|django-admin(?:\.py)?|-m\s+django)\s+(migrate)\b([^;&|\n]*)", migrate):
        return Django(migrate[: found.start(1)], tuple(found[2].split()))
    if scripts := [each for each in files if is_migration(*each)]:
        return SqlFiles.of(scripts)
    raise UsageError(
        "no-migration-tool",
        f"cannot run `{migrate}` one step at a time: unsupported migration tool",
        hint=f'supported: {table} migrate = "alembic upgrade head" or "python manage.py migrate"; or pairs of'
        " SQL files: 0001_name.up.sql, 0001_name.down.sql",
    )
