from __future__ import annotations

import pytest

from testgrove.core.migrations.command import revisions_asked
from testgrove.core.settings.types import Service
from testgrove.errors import UsageError

SERVICES = {
    "postgres": Service(engine="postgres", migrate="alembic upgrade head"),
    "analytics": Service(engine="postgres", migrate="migrate", migrate_to="migrate ${REVISION}"),
    "sqlite": Service(engine="sqlite", migrate="alembic upgrade head"),
    "shared": Service(engine="postgres", migrate="alembic upgrade head", host="postgresql://a/b", isolation="none"),
    "plain": Service(engine="postgres", migrate="make migrations"),
    "redis": Service(engine="redis"),
}


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ((), {}),
        (("0005",), {"postgres": "0005"}),
        (("0005", "analytics=0003", "sqlite=a=b"), {"postgres": "0005", "analytics": "0003", "sqlite": "a=b"}),
    ],
)
def test_each_service_has_a_revision(asked, found):
    assert revisions_asked(asked, SERVICES, tuple(SERVICES)) == found


@pytest.mark.parametrize(
    ("asked", "present", "message", "hint"),
    [
        (("1",), ("analytics",), "no service that is migrated on a database server (available: analytics)",
         "--migrate-to analytics=1"),
        (("1",), ("redis",), "(available: none)", "[tool.testgrove.services.postgres]"),
        (("stats=1",), ("postgres", "analytics"), "no service 'stats' with a migration (available: postgres, ana",
         "--migrate-to postgres=1"),
        (("analytics=1",), ("postgres",), "no service 'analytics' with a migration (available: post", "postgres=1"),
        (("redis=1",), ("redis",), "no service 'redis' with a migration", "remove --migrate-to"),
        (("shared=1",), ("shared",), "the database is shared ([services.shared] isolation = 'none')", "remove"),
        (("1", "postgres=2"), ("postgres",), "service 'postgres' has a revision already", ""),
        (("postgres=",), ("postgres",), "--migrate-to postgres=: the revision is empty", "SERVICE=REV"),
        (("plain=1",), ("plain",), "'services.plain.migrate' is 'make migrations'", "migrate_to"),
    ],
)  # fmt: skip
def test_what_cannot_be_migrated_is_said_with_what_can(asked, present, message, hint):
    with pytest.raises(UsageError) as caught:
        revisions_asked(asked, SERVICES, present)
    assert message in caught.value.message
    assert hint in caught.value.hint
    assert caught.value.code == ("no-migrate-to" if asked == ("plain=1",) else "migrate-to-unused")
