"""What a database lease names, whatever its engine is; and a URL that everybody uses as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from testgrove.core.model import DatabaseAccess, Lease, LeaseKind
from testgrove.core.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Mapping

    from testgrove.core.server_url import ServerUrl


def drop_leased(data: Mapping[str, Any]) -> str:
    """Take away what a lease of kind DATABASE names, by its data alone. Idempotent.

    Returns what should be known, or nothing. Raises UnavailableError when the server does not answer.
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
    """The database that a URL names, as it is, if it answers. Nothing is changed there.

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
