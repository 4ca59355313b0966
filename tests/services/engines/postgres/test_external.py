"""Databases of ours on a PostgreSQL that is somebody else's: nothing but ours is touched, nothing of ours stays."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import psycopg
import pytest

import users_server
from testgrove.core.model import Lease
from testgrove.core.server_url import parse_server_url
from testgrove.errors import PreconditionError, TestgroveError, UnavailableError
from testgrove.services.engines.postgres import external_session, external_sql, external_templates
from testgrove.services.engines.postgres.external import ExternalPostgres, drop_leased
from testgrove.services.owner_marks import Mark

pytestmark = pytest.mark.postgres


class Leases:
    """core.leases.Leases in memory."""

    def __init__(self):
        self.held: dict[str, Lease] = {}

    def record(self, *leases):
        for lease in leases:
            if lease.key in self.held:
                raise PreconditionError("held", lease.key)
            self.held[lease.key] = lease

    def forget(self, *leases):
        for lease in leases:
            del self.held[lease.key]

    def all(self):
        return tuple(self.held.values())


@pytest.fixture(scope="module")
def running(require_postgres):
    with users_server.users_postgres(require_postgres) as server:
        yield server


@pytest.fixture
def server(running):
    """The user's server, with two databases of the user's, one of them called like a cell's."""
    running.clear("shop", "testdb_unit_x")
    for name, owner in {"shop": "postgres", "testdb_unit_x": "ci"}.items():
        if name not in running.databases():
            running.sql(f"CREATE DATABASE {name} OWNER {owner}")
    return running


@pytest.fixture
def given(server):
    opened = []

    def make(**options):
        one = ExternalPostgres(parse_server_url("postgres", server.url), **options)
        one.open()
        opened.append(one)
        return one

    yield make
    for one in opened:
        one.close()


@pytest.fixture
def leases():
    return Leases()


def migrate(access):
    with psycopg.connect(access.url(), autocommit=True) as database:
        database.execute("CREATE TABLE things (name text)")
        database.execute("INSERT INTO things VALUES ('one')")
        database.execute(f"ALTER DATABASE {access.name} SET search_path = public, pg_catalog")


def names_in(access):
    with psycopg.connect(access.url()) as database:
        return [name for (name,) in database.execute("SELECT name FROM things")]


def clone(one, name, leases, fingerprint="f" * 32, **options):
    template = one.ensure_template(fingerprint, migrate, leases=leases)
    return one.create_database(name, template=template, owner="a test", leases=leases, **options)


USERS = {"postgres", "template0", "template1", "shop", "testdb_unit_x"}


def test_a_clone_has_what_the_migration_made_and_goes_by_its_lease(server, given, leases):
    access = clone(given(), "testdb_unit_a", leases)
    assert access.name == "testdb_unit_a"
    assert names_in(access) == ["one"]
    with psycopg.connect(access.url()) as database:
        assert database.execute("SHOW search_path").fetchone() == ("public, pg_catalog",)
    (lease,) = leases.all()
    assert server.unsealed() == USERS | {"testdb_unit_a"}
    assert drop_leased(lease.data) == ""
    assert drop_leased(lease.data) == "", "a second time there is nothing to do"
    assert server.unsealed() == USERS


def test_the_template_is_sealed_and_built_once(server, given, leases):
    one, built = given(), []
    for _ in range(3):
        one.ensure_template("a" * 32, lambda access: built.append(access.name), leases=leases)
    (template,) = server.templates()
    assert len(built) == 1
    assert leases.all() == ()
    assert not template.startswith("testdb_")
    with pytest.raises(psycopg.OperationalError, match="not currently accepting connections"):
        psycopg.connect(server.url, dbname=template)


def test_two_builders_at_once_build_once_and_the_other_waits(server, given, leases):
    begun, go, built, waits = threading.Event(), threading.Event(), [], []

    def build(access):
        built.append(access.name)
        begun.set()
        assert go.wait(30)

    def waiting(reason):
        waits.append(reason)
        go.set()

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(given().ensure_template, "b" * 32, build, leases=leases)
        assert begun.wait(30)
        second = pool.submit(given().ensure_template, "b" * 32, build, leases=Leases(), on_wait=waiting)
        assert first.result(30) == second.result(30)
    assert len(built) == 1
    assert "building" in waits[0]


def test_of_a_migration_that_fails_nothing_stays_and_those_who_waited_have_its_error(server, given, leases):
    one = given()

    def build(access):
        raise UnavailableError("migration-failed", "it failed")

    with pytest.raises(UnavailableError, match="it failed"):
        one.ensure_template("c" * 32, build, leases=leases)
    assert server.databases() == USERS
    assert leases.all() == ()
    assert one.ensure_template("c" * 32, migrate, leases=leases) in server.databases()


def test_a_database_of_the_users_that_bears_our_name_is_named_and_left_alone(server, given, leases):
    server.sql("CREATE TABLE mine (a int)", database="testdb_unit_x")
    one = given()
    with pytest.raises(PreconditionError) as raised:
        clone(one, "testdb_unit_x", leases)
    assert raised.value.code == "database-exists"
    assert "testdb_unit_x" in raised.value.message
    assert server.unsealed() == USERS
    assert server.sql("SELECT count(*) FROM mine", database="testdb_unit_x") == [(0,)]
    assert leases.all() == ()


def test_one_that_the_user_makes_at_the_last_moment_is_left_alone(server, given, leases, monkeypatch):
    """Between the look and the renaming, and with the lease already recorded."""
    create = external_sql.create

    def and_the_user_too(connection, name, *rest):
        create(connection, name, *rest)
        server.sql("CREATE DATABASE testdb_unit_b OWNER ci")

    one = given()
    template = one.ensure_template("f" * 32, migrate, leases=leases)
    monkeypatch.setattr(external_sql, "create", and_the_user_too)
    with pytest.raises(PreconditionError, match="testdb_unit_b"):
        one.create_database("testdb_unit_b", template=template, owner="a test", leases=leases)
    assert server.unsealed() == USERS | {"testdb_unit_b"}
    assert leases.all() == ()


def test_a_users_database_called_like_our_template_is_named_and_left_alone(server, given, leases):
    one = given()
    name = one.ensure_template("d" * 32, migrate, leases=leases)
    one.drop_template(name)
    server.sql(f"CREATE DATABASE {name} OWNER ci")
    with pytest.raises(PreconditionError, match=name):
        one.ensure_template("d" * 32, migrate, leases=leases)
    one.drop_template(name)
    assert server.databases() == USERS | {name}


def test_a_lease_does_not_drop_what_somebody_else_put_in_its_place(server, given, leases):
    clone(given(), "testdb_unit_a", leases)
    (lease,) = leases.all()
    server.sql("DROP DATABASE testdb_unit_a")
    server.sql("CREATE DATABASE testdb_unit_a OWNER ci")
    assert "testdb_unit_a" in drop_leased(lease.data)
    assert server.unsealed() == USERS | {"testdb_unit_a"}


def test_while_another_owner_lives_his_name_is_not_taken(server, given, leases):
    here, there = clone(given(), "testdb_unit_a", leases), clone(given(), "testdb_unit_a", Leases())
    assert here.name == "testdb_unit_a"
    assert there.name.startswith("testdb_unit_a_")
    assert names_in(there) == ["one"]


def test_a_dead_owners_databases_are_swept_and_nobody_elses(server, given):
    dead, kept = given(), given()
    clone(dead, "testdb_unit_a", Leases())
    clone(dead, "testdb_unit_b", Leases(), kind="worktree")
    clone(kept, "testdb_unit_c", Leases())
    sweeper = given()
    assert sweeper.sweep() == []
    dead.close()
    until_gone(server, locks=2)
    assert sweeper.sweep() == ["testdb_unit_a"]
    assert server.unsealed() == USERS | {"testdb_unit_b", "testdb_unit_c"}


def until_gone(server, *, locks):
    """Wait until the server has noticed that a connection is closed."""
    for _ in range(1000):
        if server.locks() == locks:
            return
        threading.Event().wait(0.005)
    raise AssertionError(f"{server.locks()} advisory locks")


def test_a_dead_owners_name_is_taken_over(server, given, leases):
    dead = given()
    clone(dead, "testdb_unit_a", Leases())
    dead.close()
    until_gone(server, locks=0)
    assert clone(given(), "testdb_unit_a", leases).name == "testdb_unit_a"
    assert server.unsealed() == USERS | {"testdb_unit_a"}


def test_a_dead_owners_database_that_somebody_uses_stays(server, given):
    dead = given()
    access = clone(dead, "testdb_unit_a", Leases())
    with psycopg.connect(access.url()):
        dead.close()
        until_gone(server, locks=0)
        assert given().sweep() == []


def test_a_half_made_one_is_swept_whatever_it_was_to_become(server, given):
    dead = given()
    dead.ensure_template("e" * 32, migrate, leases=Leases())
    for kind in ("template", "worktree"):
        name = f"testgrove_building_{kind}"
        server.sql(f"CREATE DATABASE {name} OWNER ci")
        mark = Mark(kind, "t", dead._lock, "a test", "")
        server.sql(f"COMMENT ON DATABASE {name} IS '{mark.dump()}'")
    dead.close()
    until_gone(server, locks=0)
    assert len(given().sweep()) == 2
    assert server.unsealed() == USERS


def test_an_owner_whose_connection_was_cut_is_alive_again_before_it_makes_anything(server, given, leases):
    one = given()
    server.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'testgrove'")
    until_gone(server, locks=0)
    clone(one, "testdb_unit_a", leases)
    assert given().sweep() == []


def test_what_a_killed_client_left_running_on_the_server_is_waited_for(server, given, leases):
    """Its CREATE DATABASE may end after the undo has looked: then nobody would know of the database."""
    one, held, done = given(), threading.Event(), threading.Event()
    clone(one, "testdb_unit_a", leases)
    (lease,) = leases.all()

    def maker():
        with (
            external_session.connect(one.url) as session,
            external_sql.locked(session, f"the maker {lease.data['token']}", timeout=5),
        ):
            held.set()
            threading.Event().wait(0.3)
            session.execute(f"CREATE DATABASE {lease.data['temporary']}".encode())
            done.set()

    with ThreadPoolExecutor(1) as pool:
        made = pool.submit(maker)
        assert held.wait(10)
        drop_leased(lease.data)
        assert done.is_set()
        made.result()
    assert server.unsealed() == USERS


def test_templates_are_bounded_by_number_and_age(server, given, leases, monkeypatch):
    monkeypatch.setattr(external_templates, "MAX_TEMPLATES", 2)
    one = given()
    names = [one.ensure_template(letter * 32, migrate, leases=leases) for letter in "abc"]
    assert len(server.templates()) == 2
    assert names[-1] in server.templates()
    ((comment,),) = server.sql(
        "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s", names[-1]
    )
    old = replace(Mark.load(comment), used="2020-01-01T00:00:00+00:00")
    server.sql(f"COMMENT ON DATABASE {names[-1]} IS '{old.dump()}'")
    one.ensure_template("e" * 32, migrate, leases=leases)
    assert names[-1] not in server.templates()
    assert server.unsealed() == USERS


@pytest.mark.parametrize(
    ("user", "options", "code", "status"),
    [
        ("poor", {}, "no-createdb", 3),
        ("ci", {"version": "9.9"}, "other-version", 3),
        ("ci", {"extensions": ("no_such",)}, "missing-extension", 3),
        ("nobody", {}, "server-unreachable", 5),
    ],
)
def test_what_will_not_do_is_said_at_once(server, user, options, code, status):
    url = parse_server_url("postgres", server.url.replace("//ci:", f"//{user}:"))
    with pytest.raises(TestgroveError) as raised:
        ExternalPostgres(url, **options).open()
    assert (raised.value.code, raised.value.exit_status) == (code, status)
    said = f"{raised.value.message} {raised.value.hint}"
    assert str(server.port) in said
    assert users_server.PASSWORD not in said
    assert users_server.QUOTED not in said


def test_a_password_from_the_environment_gets_into_the_worktrees_url(server, leases, monkeypatch):
    monkeypatch.setenv("PGPASSWORD", users_server.PASSWORD)
    url = parse_server_url("postgres", f"postgresql://ci@127.0.0.1:{server.port}")
    one = ExternalPostgres(url)
    one.open()
    access = one.create_database("testdb_unit_a", template="", owner="a test", leases=leases)
    one.close()
    monkeypatch.delenv("PGPASSWORD")
    with psycopg.connect(access.url()) as database:
        assert database.execute("SELECT current_database()").fetchone() == ("testdb_unit_a",)
    assert users_server.QUOTED not in access.url(redacted=True)
    assert users_server.QUOTED not in str(leases.all())
    drop_leased(leases.all()[0].data | {"url": server.url})
