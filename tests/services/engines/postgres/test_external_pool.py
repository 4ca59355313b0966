"""A pool of clones on a PostgreSQL of the user's: a database for every test, and none of them afterwards."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

import users_server
from services.cases import until
from services.engines.postgres.test_external import Leases, migrate, names_in
from testgrove.core.model import LeaseKind
from testgrove.core.server_url import parse_server_url
from testgrove.errors import PreconditionError, UnavailableError
from testgrove.services.engines.postgres.engine import POSTGRES
from testgrove.services.engines.postgres.external import ExternalPostgres
from testgrove.services.engines.postgres.external_pool import ExternalPool, room

pytestmark = pytest.mark.postgres

USERS = {"postgres", "template0", "template1", "shop", "testdb_unit_x", "testgrove_pool_of_mine"}


@pytest.fixture(scope="module")
def running(require_postgres):
    with users_server.users_postgres(require_postgres) as server:
        yield server


@pytest.fixture
def server(running):
    """The user's server, with databases of the user's, some of them called like ours and owned by our role."""
    running.clear(*USERS, *running.templates())
    for name in USERS - running.databases():
        running.sql(f"CREATE DATABASE {name} OWNER ci")
    yield running
    assert running.unsealed() == USERS
    until(lambda: running.locks() == 0)  # the server notices a moment later that a connection is closed


@pytest.fixture
def leases():
    return Leases()


@pytest.fixture
def given(server):
    opened = ExternalPostgres(parse_server_url("postgres", server.url))
    opened.open()
    yield opened
    opened.close()


@pytest.fixture
def pool(given, leases):
    template = given.ensure_template("d" * 32, migrate, leases=leases)
    pool = ExternalPool(given, template, owner="a test", leases=leases, limit=20)
    yield pool
    pool.close()
    assert leases.all() == ()


def write(access):
    assert names_in(access) == ["one"]
    with psycopg.connect(access.url(), autocommit=True) as database:
        assert database.execute("SHOW search_path").fetchone() == ("public, pg_catalog",)
        database.execute("INSERT INTO things VALUES ('same'); CREATE TABLE beside (n int)")


def test_every_test_has_a_fresh_one_whatever_it_asks_for(pool):
    allocation, used = pool.open(), set()
    for isolation in ("clone", "reset", "transaction", "reset", "clone"):
        access = allocation.get(isolation)
        assert access.name not in used
        used.add(access.name)
        write(access)
        allocation.put(access.name)
    allocation.close()


def test_many_clients_at_once(pool):
    def work(number):
        allocation = pool.open()
        for _ in range(3):
            access = allocation.get("clone")
            write(access)
            allocation.put(access.name)
        allocation.close()

    with ThreadPoolExecutor(3) as clients:
        list(clients.map(work, range(3)))


def test_what_a_test_leaves_open_is_ended(pool, server):
    allocation = pool.open()
    access = allocation.get("clone")
    with psycopg.connect(access.url()) as left:
        left.execute("SELECT pg_advisory_lock(1)")
        left.execute("LOCK TABLE things")
        allocation.put(access.name)
        until(lambda: access.name not in server.databases())
        left.close()
    allocation.close()


def test_the_password_stands_in_no_mark(pool, server):
    allocation = pool.open()
    name = allocation.get("clone").name
    found = server.sql("SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s", name)
    assert '"kind": "run"' in found[0][0]
    assert '"owner": "a test"' in found[0][0]
    assert users_server.PASSWORD not in found[0][0]
    allocation.close()


def test_what_is_to_be_kept_goes_with_the_pool(pool, server):
    allocation = pool.open()
    name = allocation.get("clone").name
    allocation.keep(name)
    allocation.close()
    assert name in server.databases()


def test_a_lease_suffices_to_take_everything_away_marked_or_not(server, given, leases):
    template = given.ensure_template("d" * 32, migrate, leases=leases)
    pool = ExternalPool(given, template, owner="a test", leases=leases, limit=20)
    (lease,) = leases.all()
    assert lease.kind == LeaseKind.DATABASE
    allocation = pool.open()
    allocation.get("clone")
    unmarked = f"{lease.data['pool']}_1_99"  # its maker was killed between two statements
    server.sql(f"CREATE DATABASE {unmarked} OWNER ci")
    going = threading.Thread(target=POSTGRES.drop_leased, args=(lease.data,))
    going.start()
    allocation.close()
    pool.close()
    going.join(60)
    assert not going.is_alive()
    assert POSTGRES.drop_leased(lease.data) == ""


def test_an_owner_that_is_gone_is_swept_without_its_lease(server, given, leases):
    other = ExternalPostgres(parse_server_url("postgres", server.url))
    other.open()
    template = other.ensure_template("d" * 32, migrate, leases=leases)
    pool = ExternalPool(other, template, owner="a dead one", leases=leases, limit=20)
    allocation = pool.open()
    allocation.get("clone")
    until(lambda: len(ours(server)) == 3)  # two are made ahead, and then it rests
    assert given.sweep() == []
    other.close()
    until(lambda: given.sweep() or not ours(server))
    assert ours(server) == []
    allocation.close()
    pool.close()


def ours(server):
    return [name for name in server.databases() if name.startswith("testgrove_pool_") and name not in USERS]


def ask(allocation, times):
    for _ in range(times):
        allocation.get("clone")


def test_a_server_that_goes_away_is_an_error_for_who_asks(pool, server):
    allocation = pool.open()
    access = allocation.get("clone")
    server.sql("ALTER ROLE ci NOLOGIN")
    server.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'ci'")
    try:
        with pytest.raises(UnavailableError, match="cannot"):
            ask(allocation, 4)
    finally:
        server.sql("ALTER ROLE ci LOGIN")
    allocation.put(access.name)
    write(allocation.get("clone"))
    allocation.close()


def test_room_is_what_the_servers_connections_allow(given):
    assert room(given, least=1, most=100) in range(15, 29)
    assert room(given, least=6, most=10) == 10


def test_a_name_that_the_client_does_not_hold(pool):
    allocation = pool.open()
    with pytest.raises(PreconditionError, match="holds no database"):
        allocation.put("shop")
    allocation.close()
