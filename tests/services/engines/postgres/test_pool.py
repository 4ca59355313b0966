"""The pool: every client has databases of its own, as the migration left them, whatever the test before did."""

import random
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

import psycopg
import pytest

from services.cases import connected, query, run, until
from services.conftest import free_port
from testgrove.errors import ExhaustedError, PreconditionError, TestgroveError, UnavailableError
from testgrove.services.engines.postgres.pool import Pool
from testgrove.services.engines.postgres.pool_roles import EmbeddedAdmin
from testgrove.services.engines.postgres.sql import connect

pytestmark = pytest.mark.postgres

RICH = """
CREATE TABLE parents (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text UNIQUE, twice int
    GENERATED ALWAYS AS (length(name) * 2) STORED, self int REFERENCES parents);
CREATE TABLE children (id bigserial PRIMARY KEY, parent int NOT NULL REFERENCES parents ON DELETE CASCADE, note jsonb);
CREATE TABLE log (at timestamptz DEFAULT now(), what text);
CREATE FUNCTION logged() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN INSERT INTO log (what) VALUES (TG_OP || ' ' || TG_TABLE_NAME); RETURN NULL; END $$;
CREATE TRIGGER logs AFTER INSERT OR DELETE OR UPDATE ON parents FOR EACH ROW EXECUTE FUNCTION logged();
CREATE RULE silent AS ON DELETE TO children WHERE OLD.id < 0 DO INSTEAD NOTHING;
CREATE TABLE events (id int, day date) PARTITION BY RANGE (day);
CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
CREATE TABLE events_2 PARTITION OF events FOR VALUES FROM ('2026-02-01') TO ('2026-03-01');
CREATE TABLE plain (LIKE log); CREATE TABLE heir (more int) INHERITS (plain);
CREATE TABLE "Odd ""Name" (x int); CREATE TABLE empty ();
CREATE SEQUENCE numbers START 100; CREATE SEQUENCE untouched;
INSERT INTO parents (name) VALUES ('one'), ('two'); UPDATE parents SET self = 1 WHERE id = 2;
INSERT INTO children (parent, note) SELECT 1, '{"n": 1}' FROM generate_series(1, 50);
INSERT INTO events VALUES (1, '2026-01-05');
SELECT nextval('numbers'), nextval('numbers');
CREATE MATERIALIZED VIEW counted AS SELECT count(*) FROM children;
CREATE UNIQUE INDEX ON counted (count);
CREATE VIEW seen AS SELECT * FROM parents;
TRUNCATE log;
"""
# Everything that is to be the same again: rows, sequences, tables, settings.
CONTENT = """
SELECT md5(concat(
 (SELECT string_agg(p::text, ';' ORDER BY id) FROM parents p),
 (SELECT string_agg(c::text, ';' ORDER BY id) FROM children c),
 (SELECT string_agg(l::text, ';') FROM log l), (SELECT string_agg(e::text, ';') FROM events e),
 (SELECT string_agg(p::text, ';') FROM plain p), (SELECT string_agg(x::text, ';') FROM "Odd ""Name" x),
 (SELECT count(*) FROM empty), (SELECT string_agg(c::text, ';') FROM counted c),
 (SELECT string_agg(concat(sequencename, last_value), ';' ORDER BY sequencename) FROM pg_sequences),
 (SELECT string_agg(concat(relname, relkind, relacl), ';' ORDER BY relname) FROM pg_class WHERE oid >= 16384
    AND relkind IN ('r', 'v', 'm', 'S', 'i', 'p')),
 (SELECT string_agg(extname, ';' ORDER BY extname) FROM pg_extension), current_setting('work_mem'),
 (SELECT string_agg(setconfig::text, ';') FROM pg_db_role_setting s JOIN pg_database d ON d.oid = setdatabase
    WHERE datname = current_database()), current_setting('search_path')))
"""


@pytest.fixture(scope="module")
def rich(require_postgres):
    """A pool on a server of its own, whose template has a bit of everything; for the module."""
    import shutil
    import tempfile
    from pathlib import Path

    from services.cases import Kit
    from services.launcher import LocalLauncher

    shared = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="tg-", dir=shared if shared.is_dir() else "/tmp"))
    folder.chmod(0o711)
    launcher = LocalLauncher()
    kit = Kit(require_postgres, folder, launcher, free_port())
    template = kit.template("6" * 32, lambda access: run(access, RICH))
    with kit.server(template) as server:
        yield server
    launcher.end()
    shutil.rmtree(folder)


@contextmanager
def pool_on(server, limit=40):
    pool = Pool(server, owner="a test", limit=limit)
    allocations = []
    make = pool.open

    def tracked():
        allocations.append(make())
        return allocations[-1]

    pool.open = tracked
    try:
        yield pool
    finally:
        for allocation in allocations:
            with suppress(TestgroveError):
                allocation.close()
        pool.close()


@pytest.fixture
def pool(rich):
    with pool_on(rich) as pool:
        yield pool


@pytest.fixture
def allocation(pool):
    return pool.open()


@pytest.fixture(scope="module")
def worker(rich):
    """An allocation that test after test uses, as those of a worker of a suite do."""
    with pool_on(rich) as pool:
        yield pool.open()


@pytest.fixture(scope="module")
def untouched(worker):
    """What the migration left."""
    access = worker.get("clone")
    content = query(access, CONTENT)
    worker.put(access.name)
    return content


def names(server, like="pool%"):
    with connect(server.endpoint) as admin:
        return [name for (name,) in admin.execute("SELECT datname FROM pg_database WHERE datname LIKE %s", (like,))]


WRITES = {
    "nothing": "SELECT 1",
    "rows": '''INSERT INTO children (parent) VALUES (2); INSERT INTO "Odd ""Name" VALUES (1);
        INSERT INTO empty DEFAULT VALUES''',
    "seeds gone": "DELETE FROM parents",
    "seeds changed": "UPDATE parents SET name = 'a new ' || name, self = NULL",
    "rows and none": "BEGIN; INSERT INTO log (what) VALUES ('x'); ROLLBACK; INSERT INTO children (parent) VALUES (2)",
    "rows gone again": "INSERT INTO empty DEFAULT VALUES; DELETE FROM empty; INSERT INTO empty DEFAULT VALUES",
    "rows instead": "INSERT INTO events VALUES (7, '2026-01-06'); DELETE FROM events WHERE id = 1",
    "a conflict": "INSERT INTO parents (name) VALUES ('one') ON CONFLICT (name) DO UPDATE SET name = 'first'",
    "a part of a transaction": """BEGIN; INSERT INTO children (parent) VALUES (1); SAVEPOINT s;
        INSERT INTO children (parent) VALUES (2); RELEASE s; SAVEPOINT t; DELETE FROM events; ROLLBACK TO t; COMMIT""",
    "a lock on rows": "BEGIN; SELECT * FROM parents FOR UPDATE; INSERT INTO log (what) VALUES ('x'); COMMIT",
    "a trigger": "INSERT INTO parents (name) VALUES ('three')",
    "partitions": "INSERT INTO events VALUES (2, '2026-02-05'); UPDATE events SET day = '2026-02-07' WHERE id = 1",
    "an inherited table": "INSERT INTO plain VALUES (now(), 'a'); INSERT INTO heir VALUES (now(), 'b', 1)",
    "a rollback": "BEGIN; INSERT INTO children (parent) VALUES (1); DELETE FROM events; ROLLBACK",
    "a sequence": "SELECT nextval('numbers'), nextval('untouched')",
    "a sequence set": "SELECT setval('numbers', 7, false)",
    "another start": "ALTER SEQUENCE numbers RESTART WITH 500 INCREMENT 5",
    "a truncate": "TRUNCATE parents CASCADE",
    "a view refreshed": "DELETE FROM children; REFRESH MATERIALIZED VIEW counted",
    "a view refreshed beside": "DELETE FROM children; REFRESH MATERIALIZED VIEW CONCURRENTLY counted",
    "a dropped table": "DROP TABLE log CASCADE",
    "a new table": "CREATE TABLE fresh AS SELECT 1 AS n",
    "a column": "ALTER TABLE children ADD COLUMN more int DEFAULT 3",
    "a grant": "GRANT SELECT ON parents TO PUBLIC",
    "an extension": "CREATE EXTENSION IF NOT EXISTS pg_trgm",
    "a database setting":
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET work_mem = ''7MB''', current_database()); END $$",
    "a role setting": "ALTER ROLE CURRENT_USER SET work_mem = '8MB'",
    "a role's search path": "ALTER ROLE CURRENT_USER SET search_path = nowhere",
    "a trigger off": "ALTER TABLE parents DISABLE TRIGGER logs",
    "a large object": "SELECT lo_from_bytea(4711, 'abc')",
}  # fmt: skip


LEFT = ("rows", "a sequence", "a dropped table", "a new table", "an extension", "a role setting", "a database setting")
ROWS = (
    "nothing", "rows", "rows and none", "rows gone again", "rows instead", "a part of a transaction", "a lock on rows",
    "seeds gone", "seeds changed", "partitions", "a rollback", "a sequence", "a sequence set",
)  # fmt: skip
CASES = [("reset", what) for what in WRITES] + [("clone", what) for what in LEFT]


@pytest.mark.parametrize(("isolation", "what"), CASES)
def test_the_next_test_meets_nothing_of_the_one_before(worker, untouched, isolation, what):
    for _ in range(4):  # databases of two roles in turn, the first ones again
        access = worker.get(isolation)
        with connected(access) as client:
            assert client.execute(CONTENT).fetchone() == (untouched,)
            assert client.execute("SELECT count(*) FROM pg_largeobject_metadata").fetchone() == (0,)
            assert client.execute("INSERT INTO parents (name) VALUES ('x') RETURNING id").fetchone() == (3,)
            client.execute("DELETE FROM log; DELETE FROM parents WHERE name = 'x'")
            client.execute(WRITES[what])
        worker.put(access.name)


def test_a_reset_after_whatever_was_written(worker, untouched, record_property):
    seed = random.randrange(10**6)
    record_property("seed", seed)
    source, used = random.Random(seed), []
    for turn in range(60):
        access = worker.get("reset")
        with connected(access) as client:
            assert client.execute(CONTENT).fetchone() == (untouched,), f"seed {seed}, turn {turn}"
            for what in source.sample(ROWS, source.randint(1, 3)):
                with suppress(psycopg.IntegrityError):  # another one has deleted what it refers to
                    client.execute(WRITES[what])
                client.rollback()
        used.append(access.name)
        worker.put(access.name)
    assert len(set(used)) < 10, "they were mended"


def test_what_was_only_written_to_is_used_again_under_reset_and_never_under_clone(allocation):
    used = []
    for isolation in ("reset", "reset", "reset", "reset", "clone", "clone", "clone"):
        access = allocation.get(isolation)
        run(access, "DELETE FROM parents WHERE id = 2; INSERT INTO children (parent) VALUES (1)")
        used.append(access.name)
        allocation.put(access.name)
    assert len(set(used[:4])) <= 3
    assert len(set(used[3:])) == 4


def test_what_a_session_leaves_open_is_ended(worker):
    for isolation in ("reset", "reset", "reset", "clone", "clone"):
        access = worker.get(isolation)
        left = psycopg.connect(access.url())
        left.execute("SELECT pg_advisory_lock(1)")
        left.execute("PREPARE mine AS SELECT 1; CREATE TEMP TABLE t (n int); SET work_mem = '2MB'; LISTEN ever")
        left.execute("LOCK TABLE parents; DELETE FROM parents")
        worker.put(access.name)
        fresh = worker.get(isolation)
        here = "FROM pg_locks JOIN pg_database d ON d.oid = database WHERE datname = current_database()"
        others = "FROM pg_stat_activity WHERE datname = current_database() AND application_name <> 'testgrove'"
        with psycopg.connect(fresh.url()) as connection:
            looks = (
                "SELECT NOT pg_try_advisory_lock(1)",
                "SELECT count(*) FROM pg_prepared_statements",
                f"SELECT count(*) {here} AND mode ~ 'Exclusive' AND pid <> pg_backend_pid()",
                f"SELECT count(*) {others} AND pid <> pg_backend_pid()",
                "SELECT count(*) - 2 FROM parents",
            )
            assert [connection.execute(look).fetchone() for look in looks] == [(0,)] * len(looks)
        worker.put(fresh.name)
        until(lambda left=left: left.closed or _is_ended(left))
        left.close()


def _is_ended(connection):
    try:
        connection.execute("SELECT 1")
    except psycopg.Error:
        return True
    return False


def test_a_database_that_a_test_dropped_or_made_is_nobody_elses(rich, worker):
    for isolation in ("reset", "clone"):
        access = worker.get(isolation)
        with connect(rich.endpoint) as admin:
            admin.execute(f"CREATE DATABASE beside OWNER {access.user}")
            admin.execute(f"DROP DATABASE {access.name} WITH (FORCE)")
        worker.put(access.name)
        again = worker.get(isolation)
        assert query(again, "SELECT count(*) FROM parents") == 2
        worker.put(again.name)
        until(lambda: "beside" not in names(rich, "%"))


def test_while_it_is_looked_what_a_test_did_the_next_one_gets_another_roles_database(rich, allocation, monkeypatch):
    first = allocation.get("clone")
    until(lambda: any(re.fullmatch(r"pool_[0-9a-f]+_\d+_2_\d+", name) for name in names(rich)))
    may_look, look = threading.Event(), EmbeddedAdmin.is_spoiled
    monkeypatch.setattr(EmbeddedAdmin, "is_spoiled", lambda *a, **k: may_look.wait(20) and look(*a, **k))
    run(first, "ALTER ROLE CURRENT_USER SET work_mem = '8MB'")
    allocation.put(first.name)
    second = allocation.get("clone")
    assert second.user != first.user
    allocation.put(second.name)
    with ThreadPoolExecutor(1) as client:
        third = client.submit(allocation.get, "clone")  # nothing is sure now
        time.sleep(0.2)
        assert not third.done()
        may_look.set()
        assert third.result(20).user != first.user
    for _ in range(4):
        access = allocation.get("clone")
        assert query(access, "SHOW work_mem") == "4MB"
        allocation.put(access.name)


def test_what_went_wrong_before_somebody_asked_is_tried_again_for_them(pool, monkeypatch):
    begun, over, make = threading.Event(), threading.Event(), EmbeddedAdmin.make_clone

    def fail_once(*args):
        if begun.is_set():
            return make(*args)
        begun.set()
        assert over.wait(20)
        raise UnavailableError("postgres-failed", "the disk was full")

    monkeypatch.setattr(EmbeddedAdmin, "make_clone", fail_once)
    allocation = pool.open()
    assert begun.wait(20)
    with ThreadPoolExecutor(1) as client:
        asked = client.submit(allocation.get, "clone")
        until(lambda: allocation._waiting)
        over.set()
        assert query(asked.result(20), "SELECT count(*) FROM parents") == 2


def test_clients_have_roles_of_their_own(pool):
    one, other = pool.open().get("clone"), pool.open().get("clone")
    assert one.user != other.user
    with pytest.raises(psycopg.OperationalError, match="permission denied"):
        query(one, "SELECT 1", database=other.name)


def test_two_at_once_for_one_client(worker):
    one, other, third = worker.get("reset"), worker.get("reset"), worker.get("reset")
    run(one, "DELETE FROM children")
    assert query(other, "SELECT count(*) FROM children") == 50
    assert len({one.name, other.name, third.name}) == 3
    for access in (one, other, third):
        worker.put(access.name)


def test_a_name_that_the_client_does_not_hold(worker):
    access = worker.get("clone")
    worker.put(access.name)
    for name in (access.name, "postgres"):
        with pytest.raises(PreconditionError, match="holds no database"):
            worker.put(name)


def test_an_allocation_that_is_closed_leaves_nothing(rich, pool):
    allocation = pool.open()
    access = allocation.get("clone")
    left = psycopg.connect(access.url())
    assert names(rich, f"{access.user}%")
    allocation.close()
    until(lambda: not names(rich, f"{access.user}%"))
    with connect(rich.endpoint) as admin:
        role = "SELECT FROM pg_roles WHERE rolname = %s"
        until(lambda: not admin.execute(role, (access.user,)).fetchall())
    left.close()


def test_a_kept_database_stays(rich, allocation):
    access = allocation.get("reset")
    run(access, "DELETE FROM children")
    allocation.keep(access.name)
    for _ in range(4):
        other = allocation.get("reset")
        assert other.name != access.name
        allocation.put(other.name)
    assert query(access, "SELECT count(*) FROM children") == 0


def test_the_pool_stays_within_its_bound_and_says_when_it_is_full(rich, monkeypatch):
    monkeypatch.setattr("testgrove.services.engines.postgres.allocation._PATIENCE", 0.5)
    with pool_on(rich, limit=4) as pool:
        allocation = pool.open()
        for _ in range(12):
            access = allocation.get("clone")
            assert len(names(rich, f"{access.user.rpartition('_')[0]}%")) <= 4
            allocation.put(access.name)
        held = [allocation.get("clone") for _ in range(3)]
        with pytest.raises(ExhaustedError, match="4 databases"):
            allocation.get("clone")
        allocation.put(held[0].name)
        allocation.get("clone")


def test_many_clients_at_once(pool):
    def work(number):
        allocation = pool.open()
        for turn in range(10):
            access = allocation.get("reset" if (number + turn) % 3 else "clone")
            with connected(access) as client:
                assert client.execute("INSERT INTO parents (name) VALUES ('same') RETURNING id").fetchone() == (3,)
                time.sleep(0.002)
                assert client.execute("SELECT count(*) FROM parents").fetchone() == (3,)
            allocation.put(access.name)

    with ThreadPoolExecutor(6) as clients:
        list(clients.map(work, range(6)))
    assert threading.active_count() < 60


def test_a_template_with_triggers_that_cannot_be_stopped_is_never_reset(kit):
    always = RICH + "; ALTER TABLE parents ENABLE ALWAYS TRIGGER logs"
    template = kit.template("7" * 32, lambda access: run(access, always))
    with kit.server(template) as server, pool_on(server) as pool:
        allocation = pool.open()
        used = set()
        for _ in range(3):
            access = allocation.get("reset")
            used.add(access.name)
            assert query(access, "SELECT count(*) FROM children") == 50
            run(access, "DELETE FROM children")
            allocation.put(access.name)
        assert len(used) == 3


def test_too_many_connections_are_an_error_for_who_asks_while_they_are_there(kit, shop):
    with kit.server(shop, settings={"max_connections": "12"}) as server, pool_on(server) as pool:
        allocation, held = pool.open(), []
        allocation.put(allocation.get("clone").name)
        access = allocation.get("clone")
        until(lambda: len(names(server)) == 5)  # its two bases, and two made ahead: it rests
        with suppress(psycopg.OperationalError):
            while len(held) < 20:
                held.append(psycopg.connect(access.url()))
        while len(held) < 20:  # those that are reserved for superusers
            try:
                held.append(connect(server.endpoint))
            except TestgroveError:
                break
        assert len(held) < 12
        with pytest.raises(ExhaustedError) as refused:
            pool.open().get("clone")
        assert refused.value.code == "connections-used-up"
        allocation.put(access.name)  # with it go the connections that its test has left
        until(lambda: _can_get(allocation))
        other = pool.open()
        until(lambda: _can_get(other))
        for connection in held:
            connection.close()


def _can_get(allocation):
    try:
        return query(allocation.get("clone"), "SELECT count(*) FROM plain") == 0
    except (ExhaustedError, psycopg.OperationalError):
        return False


def test_a_server_that_is_gone_is_an_error_for_who_asks(kit, shop):
    with kit.server(shop) as server, pool_on(server) as pool:
        allocation = pool.open()
        access = allocation.get("clone")
        server.stop()
        allocation.put(access.name)
        for _ in range(3):
            with pytest.raises(TestgroveError, match="cannot"):
                allocation.get("reset")
