"""Reset: returns a used database to the state that the migration left, if that is cheaper than another clone.

The server's own counters show what was written, so a test that wrote nothing costs nothing. After a test that wrote to
two tables of forty, only those two are restored: added rows are deleted; after other changes the table is emptied and
refilled, so that its rows keep their order. Other changes than rows and sequences (a new table, a grant, an extension,
a setting) are detected, and the database is dropped. In case of doubt it is dropped, too.
"""

from __future__ import annotations

import time
from dataclasses import field
from typing import TYPE_CHECKING, Any

from testgrove.core.frozen import frozen
from testgrove.services.engines.postgres.sql import connect, reported

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.sql import Composable, Composed

    from testgrove.services.base import Endpoint

APPLICATION = "testgrove"  # the name under which our own connection to a database is seen
_SEEDS = 32 * 1024**2  # bytes of rows that a migration inserted; above that another clone is cheaper
_ROWS = 50_000  # written by one test; as above
_RESETS = 1_000  # of one database; deleted rows leave dead space
_LEAVING = 0.02  # seconds that a client which has closed its connection may take to be gone
_ENDING = 2.0  # seconds for a terminated client to disconnect
_PAUSE = 0.0003

# A migration may have set others for its database.
_OURS = """
SET session_replication_role = replica; SET default_transaction_read_only = off;
SET statement_timeout = 0; SET lock_timeout = 0; SET idle_in_transaction_session_timeout = 0;
"""
_LASTING = "SET idle_session_timeout = 0"
_WRITTEN = """
SELECT c.oid, c.oid < 16384, pg_stat_get_tuples_inserted(c.oid),
       pg_stat_get_tuples_updated(c.oid) + pg_stat_get_tuples_deleted(c.oid)
FROM pg_catalog.pg_class c WHERE c.relkind IN ('r', 'm') AND NOT c.relisshared
"""
_STATE = """
SELECT coalesce((SELECT sum(added + changed) FROM w WHERE system), 0)::bigint,
       coalesce((SELECT jsonb_object_agg(oid, jsonb_build_array(added, changed)) FROM w
                 WHERE NOT system AND added + changed > 0), jsonb_build_object()),
       (SELECT jsonb_agg(line ORDER BY line::text) FROM (
           SELECT jsonb_build_array(datdba, datacl::text, datconnlimit, datallowconn, datistemplate) AS line
           FROM pg_catalog.pg_database WHERE datname = current_database()
           UNION ALL SELECT to_jsonb(s) FROM pg_catalog.pg_db_role_setting s WHERE s.setdatabase = d.oid
           UNION ALL SELECT to_jsonb(p.gid) FROM pg_catalog.pg_prepared_xacts p WHERE p.database = d.datname) lines)
"""
# Triggers and rules that fire although we write as a replica does.
_UNSTOPPABLE = """
SELECT EXISTS (SELECT FROM pg_catalog.pg_trigger WHERE tgenabled IN ('A', 'R'))
    OR EXISTS (SELECT FROM pg_catalog.pg_rewrite WHERE ev_enabled IN ('A', 'R'))
"""
_TABLES = """
SELECT c.oid, n.nspname, c.relname, c.relpersistence <> 't' AND c.relkind = 'r',
       (SELECT array_agg(a.attname::text ORDER BY a.attnum) FROM pg_catalog.pg_attribute a
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '')
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'm') AND c.oid >= 16384
"""
_SEQUENCES = """
SELECT n.nspname, c.relname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'S' ORDER BY c.oid
"""


# The reset's transaction. The counters must include its writes before a test writes.
_MARK = "SELECT pg_current_xact_id()::text::bigint, pg_stat_force_next_flush()"


@frozen
class Writes:
    """Rows of one table that were added, and that were changed or deleted, as the server counts them."""

    added: int = 0
    changed: int = 0

    @property
    def any(self) -> int:
        """All together."""
        return self.added + self.changed

    def since(self, before: Writes) -> Writes:
        """Those that were not there before."""
        return self.plus(-before.added, -before.changed)

    def plus(self, added: int, changed: int) -> Writes:
        """These and more."""
        return Writes(self.added + added, self.changed + changed)


@frozen
class Table:
    """A table as the migration left it. rows: as COPY writes them in binary format; None if there are none."""

    name: Composable
    insert: Composed
    rows: bytes | None


@frozen
class Baseline:
    """The state of every clone of a template. Objects keep their numbers when a database is cloned.

    refusal: why its clones cannot be reset, empty where they can.
    """

    refusal: str = ""
    tables: dict[int, Table] = field(default_factory=dict)
    look: Composed | None = None
    sequences: tuple[tuple[str, str], ...] = ()
    values: tuple[str, ...] = ()

    @classmethod
    def read(cls, connection: Connection[Any]) -> Baseline:
        """Read the state of an unused clone. connection: of a superuser."""
        from psycopg import sql  # noqa: PLC0415 - heavy, and an extra

        if refusal := _refusal(connection):
            return cls(refusal)
        found = connection.execute(_SEQUENCES).fetchall()
        values = [
            sql.SQL("(SELECT last_value || ' ' || is_called FROM {})").format(sql.Identifier(*name)) for name in found
        ]
        look = sql.SQL("WITH w (oid, system, added, changed) AS MATERIALIZED (" + _WRITTEN + ")") + sql.SQL(
            _STATE + ", ARRAY[{}]::text[] FROM pg_catalog.pg_database d WHERE d.datname = current_database()"
        ).format(sql.SQL(", ").join(values))
        tables, size = {}, 0
        for oid, schema, name, ordinary, columns in connection.execute(_TABLES).fetchall():
            if ordinary:
                tables[oid] = _read_table(connection, (schema, name), columns or [])
                size += len(tables[oid].rows or b"")
            if size > _SEEDS:
                return cls(f"the migration inserts more than {_SEEDS >> 20} MB of rows")
        state = connection.execute(look).fetchone()
        assert state is not None
        *_, sequences = state
        return cls("", tables, look, tuple(found), tuple(sequences))


def _refusal(connection: Connection[Any]) -> str:
    if connection.info.server_version < 150000:
        return "PostgreSQL is older than version 15"
    found = connection.execute(f"SELECT current_setting('track_counts'), ({_UNSTOPPABLE})").fetchone()
    assert found is not None
    counts, unstoppable = found
    if counts != "on":
        return "track_counts is off"
    return "it has a trigger or rule that is ENABLE ALWAYS or ENABLE REPLICA" if unstoppable else ""


def _read_table(connection: Connection[Any], name: tuple[str, str], columns: list[str]) -> Table:
    from psycopg import sql  # noqa: PLC0415 - heavy, and an extra

    table, listed = sql.Identifier(*name), sql.SQL(", ").join(map(sql.Identifier, columns))
    insert = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT binary)").format(table, listed)
    if not connection.execute(sql.SQL("SELECT EXISTS (SELECT FROM ONLY {})").format(table)).fetchall()[0][0]:
        return Table(table, insert, None)
    copy = sql.SQL("COPY (SELECT {} FROM ONLY {}) TO STDOUT (FORMAT binary)").format(listed, table)
    with connection.cursor().copy(copy) as rows:
        return Table(table, insert, b"".join(bytes(part) for part in rows))


class Resetter:
    """Resets one database, over a connection that it keeps. open() before a test writes to it."""

    def __init__(self, connection: Connection[Any], baseline: Baseline) -> None:
        self._connection = connection
        self._baseline = baseline
        self._resets = 0
        self._written: dict[int, Writes] = {}
        self._since = 0  # the first transaction that can be a test's
        self._catalog = 0
        self._settings: object = None

    @classmethod
    def open(cls, endpoint: Endpoint, database: str, baseline: Baseline | None) -> Resetter:
        """Connect to an unused database. baseline: its state; None if it was not read yet."""
        connection = connect(endpoint, database, APPLICATION)
        try:
            with reported(f"read the database {database}"):
                # Foreign keys, triggers and rules do not act on what we write.
                connection.execute(
                    _OURS + (_LASTING if connection.info.server_version >= 140000 else ""), prepare=False
                )
                found = cls(connection, baseline or Baseline.read(connection))
                if not found.baseline.refusal:
                    found._begin()
        except BaseException:
            connection.close()
            raise
        return found

    @property
    def baseline(self) -> Baseline:
        """The state that the database is reset to."""
        return self._baseline

    def reset(self) -> bool:
        """Make it as it was; False where that cannot be done, or not cheaply, and it is to be thrown away.

        Clients that are still connected are ended. Raises UnavailableError.
        """
        self._resets += 1
        if self._baseline.refusal or self._resets > _RESETS:
            return False
        with reported("reset a database"):
            return self._clear() and self._restore()

    def close(self) -> None:
        """Leave the database."""
        self._connection.close()

    def _begin(self) -> None:
        self._catalog, self._written, self._settings, _ = self._look()
        found = self._connection.execute("SELECT pg_current_xact_id()::text::bigint").fetchone()
        assert found is not None
        (self._since,) = found

    def _look(self) -> tuple[int, dict[int, Writes], object, list[str]]:
        assert self._baseline.look is not None
        found = self._connection.execute(self._baseline.look).fetchone()
        assert found is not None
        catalog, written, settings, sequences = found
        return catalog, {int(oid): Writes(*counts) for oid, counts in written.items()}, settings, sequences

    def _restore(self) -> bool:
        catalog, counters, settings, values = self._look()
        if catalog != self._catalog or settings != self._settings:
            return False
        written = {oid: now.since(self._written.get(oid, Writes())) for oid, now in counters.items()}
        written = {oid: writes for oid, writes in written.items() if writes.any}
        moved = [
            (name, value)
            for name, value, now in zip(self._baseline.sequences, self._baseline.values, values, strict=True)
            if now != value
        ]
        if not written and not moved:
            return True
        if not written.keys() <= self._baseline.tables.keys() or sum(writes.any for writes in written.values()) > _ROWS:
            return False
        self._written = counters | self._write(counters, written, moved)
        return True

    def _write(
        self, counters: dict[int, Writes], written: dict[int, Writes], moved: list[tuple[tuple[str, str], str]]
    ) -> dict[int, Writes]:
        """Restore tables and sequences; return the counters of those tables afterwards."""
        from psycopg import sql  # noqa: PLC0415 - heavy, and an extra

        statements: list[Composable] = [sql.SQL("BEGIN"), sql.SQL(_MARK)]
        statements += [self._delete(self._baseline.tables[oid], writes) for oid, writes in written.items()]
        for name, value in moved:
            last, called = value.split()
            call = sql.SQL("SELECT setval({}::regclass, {}, {})")
            quoted = sql.Literal(sql.Identifier(*name).as_string(self._connection))
            statements.append(call.format(quoted, sql.Literal(int(last)), sql.Literal(called == "true")))
        filled = [oid for oid, writes in written.items() if writes.changed and self._baseline.tables[oid].rows]
        statements += [] if filled else [sql.SQL("COMMIT")]
        cursor = self._connection.execute(sql.SQL("; ").join(statements), prepare=False)  # one round trip
        cursor.nextset()
        found = cursor.fetchone()
        assert found is not None
        after = {}
        for oid in written:
            cursor.nextset()
            after[oid] = counters[oid].plus(0, cursor.rowcount)
        for oid in filled:
            after[oid] = after[oid].plus(self._fill(self._baseline.tables[oid]), 0)
        if filled:
            self._connection.execute("COMMIT")
        ended, _ = found
        self._since = ended + 1
        return after

    def _delete(self, table: Table, writes: Writes) -> Composed:
        """Delete what a test has added, if it did nothing else, or everything."""
        from psycopg import sql  # noqa: PLC0415 - heavy, and an extra

        delete = sql.SQL("DELETE FROM ONLY {}").format(table.name)
        if writes.changed:
            return delete
        return delete + sql.SQL(" WHERE age(xmin) <= age({}::xid)").format(sql.Literal(str(self._since % 2**32)))

    def _fill(self, table: Table) -> int:
        """Write a table's rows into it; how many there are."""
        assert table.rows is not None
        with (cursor := self._connection.cursor()).copy(table.insert) as copy:
            copy.write(table.rows)
        return cursor.rowcount

    def _clear(self) -> bool:
        """Wait for clients that are leaving, end those that stay; whether all are gone."""
        others = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        if self._left(others, _LEAVING):
            return True
        self._connection.execute(f"SELECT pg_terminate_backend(pid) {others}".encode())
        return self._left(others, _ENDING)

    def _left(self, others: str, timeout: float) -> bool:
        deadline = time.monotonic() + timeout
        while self._connection.execute(f"SELECT 1 {others} LIMIT 1".encode()).fetchone():
            if time.monotonic() > deadline:
                return False
            time.sleep(_PAUSE)
        return True
