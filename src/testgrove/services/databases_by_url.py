"""Databases named by leases, for all engines; and databases that all worktrees share by URL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from testgrove.core.model import DatabaseAccess, Lease, LeaseKind
from testgrove.core.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Mapping

    from testgrove.core.server_url import ServerUrl


def drop_leased(data: Mapping[str, Any]) -> str:
    """Drop the database of a lease of kind DATABASE, using only the lease's data. Idempotent.

    Returns a message for the user, or nothing. Raises UnavailableError when the server does not answer.
    """
    if data["engine"] == "redis":
        from testgrove.services.engines.redis import external as server_redis  # noqa: PLC0415 - its driver, for those who have one

        return server_redis.drop_leased(data)
    if "pool" in data:
        from testgrove.services.engines.postgres import external_pool  # noqa: PLC0415 - as above

        return external_pool.drop_pool(data)
    from testgrove.services.engines.postgres import external as server_postgres  # noqa: PLC0415 - as above

    return server_postgres.drop_leased(data)


def lease_by_mark(url: ServerUrl, name: str, owner: str) -> Lease:
    """A lease for a worktree's database on a server by URL, after its own lease was lost.

    The database is dropped only if its mark names the owner; that is looked at when the lease is undone.
    """
    data: dict[str, Any] = {"engine": url.engine, "url": url.text.reveal(), "token": "", "owner": owner}
    data |= {"number": int(name), "marks": None} if url.engine == "redis" else {"name": name, "temporary": ""}
    return Lease(LeaseKind.DATABASE, f"{url.place} {name}", data)


def as_given(url: ServerUrl) -> DatabaseAccess:
    """Return the database of a URL if it answers. Changes nothing there.

    Raises UnavailableError (``server-unreachable``), PreconditionError (``no-driver``).
    """
    user, password = url.user, url.password
    if url.engine == "redis":
        from testgrove.services.engines.redis import external as server_redis  # noqa: PLC0415 - as above

        server_redis.check_answers(url)
    else:
        from testgrove.services.engines.postgres import external_session  # noqa: PLC0415 - as above

        with external_session.connect(url, database=url.database) as connection:
            user, password = connection.info.user, Secret(connection.info.password or "")
    return DatabaseAccess(url.engine, url.database or "0", url.host, url.port, user, password, given=url.text)
