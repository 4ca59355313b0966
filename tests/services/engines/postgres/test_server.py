import os
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import psycopg
import pytest

from services.cases import query, run, until
from testgrove.core.secret import Secret
from testgrove.errors import PreconditionError, UnavailableError, UsageError
from testgrove.services import archive
from testgrove.services.engines.postgres import installation
from testgrove.services.engines.postgres import server as postgres
from testgrove.services.engines.postgres.server import server_settings
from testgrove.services.engines.postgres.sql import connect
from testgrove.services.shared_memory import release_shared_memory

pytestmark = pytest.mark.postgres


@pytest.fixture(scope="module")
def running(common_kit, shop):
    with common_kit.server(shop) as server:
        yield server


@pytest.fixture
def server(running):
    """A server without any database of another test."""
    yield running
    with connect(running.endpoint) as admin:
        roles = admin.execute("SELECT rolname FROM pg_roles WHERE rolname LIKE 'testdb%'").fetchall()
    for (role,) in roles:
        running.drop_database(role)
    assert databases(running) == ["postgres", "template0", "template1", running.template.database]


def tool(server, access, *argv):
    """Run a client program as a worktree would: with PG* variables and nothing else."""
    env = {
        "PATH": f"{server.bindir}:/usr/bin:/bin",
        "PGHOST": access.host,
        "PGPORT": str(access.port),
        "PGUSER": access.user,
        "PGPASSWORD": access.password.reveal(),
        "LC_ALL": "C",
    }
    return subprocess.run(argv, env=env, capture_output=True, text=True, check=False)


def test_a_clone_holds_what_the_migration_made(server):
    access = server.create_database("testdb_unit_a", owner="test-unit-a")
    assert query(access, "SELECT count(*) FROM shop.items") == 200
    assert query(access, "SELECT current_database()") == "testdb_unit_a"
    assert query(access, "SELECT shop.total()") == 20100
    assert access.url(redacted=True) == f"postgresql://testdb_unit_a@127.0.0.1:{access.port}/testdb_unit_a"


def test_what_a_killed_client_has_asked_for_is_dropped_once_the_server_has_made_it(server, monkeypatch):
    children = psutil.Process(server._process.pid).children(recursive=True)
    checkpointer = next(child for child in children if "checkpointer" in " ".join(child.cmdline()))
    made = []
    monkeypatch.setattr(postgres.sql, "connect", lambda *args: made.append(connect(*args)) or made[-1])
    asks = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'CREATE DATABASE%'"
    with connect(server.endpoint) as admin, ThreadPoolExecutor(2) as threads:
        checkpointer.suspend()  # a copy of files waits for it, with its role locked
        try:
            maker = threads.submit(server.create_database, "testdb_unit_late", owner="x")
            until(lambda: admin.execute(asks).fetchone() == (1,))
            with socket.socket(fileno=os.dup(made[0].fileno())) as cut:
                cut.shutdown(socket.SHUT_RDWR)  # as the kernel does for who is killed
            with pytest.raises(UnavailableError):
                maker.result(10)
            dropper = threads.submit(server.drop_database, "testdb_unit_late")
            time.sleep(0.2)
        finally:
            checkpointer.resume()
        dropper.result(10)
        assert not admin.execute("SELECT FROM pg_database WHERE datname = 'testdb_unit_late'").fetchall()
        assert not admin.execute("SELECT FROM pg_roles WHERE rolname = 'testdb_unit_late'").fetchall()


def test_clones_do_not_see_one_another(server):
    one, other = (server.create_database(f"testdb_unit_{name}", owner="x") for name in "ab")
    run(one, "DELETE FROM shop.orders; DELETE FROM shop.items")
    assert query(one, "SELECT count(*) FROM shop.items") == 0
    assert query(other, "SELECT count(*) FROM shop.items") == 200


def test_a_role_cannot_connect_to_another_ones_database(server):
    one, other = (server.create_database(f"testdb_unit_{name}", owner="x") for name in "ab")
    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        query(one, "SELECT 1", database=other.name)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        run(one, f"DROP DATABASE {other.name}")


def test_a_password_is_needed_by_tcp_and_by_socket(server):
    access = server.create_database("testdb_unit_a", owner="x")
    for host in (access.host, access.socket_dir):
        for user in (access.user, "postgres"):
            with pytest.raises(psycopg.OperationalError, match="password"):
                psycopg.connect(host=host, port=access.port, user=user, dbname=access.name, password="wrong")


def test_the_role_can_change_everything_in_its_database(server):
    access = server.create_database("testdb_unit_a", owner="x")
    assert query(access, "SELECT current_setting('is_superuser')") == "off"
    foreign = "SELECT count(*) FROM pg_class WHERE relowner <> 'testdb_unit_a'::regrole AND oid >= 16384"
    assert query(access, foreign) == 0
    # What a later migration does; each of these fails where two roles share the objects.
    run(access, "ALTER TABLE shop.items ADD COLUMN tax int; ALTER TABLE plain RENAME TO simple; DROP TABLE simple")
    run(access, "CREATE SEQUENCE shop.s; ALTER SEQUENCE shop.s OWNED BY shop.items.tax")
    run(
        access,
        "CREATE TABLE shop.more (id int); CREATE OR REPLACE VIEW shop.dear AS"
        " SELECT i.id, i.name, i.price FROM shop.items i WHERE id NOT IN (SELECT id FROM shop.more)",
    )
    assert query(access, "SELECT count(*) FROM shop.dear") == 200
    run(access, "DROP SCHEMA shop CASCADE; DROP SCHEMA public CASCADE; CREATE SCHEMA public; CREATE TABLE t (n int)")


def test_settings_that_a_migration_gave_to_its_database_and_role_are_the_clones_too(server):
    access = server.create_database("testdb_unit_a", owner="x")
    assert query(access, "SHOW search_path") == "shop, public"
    assert query(access, "SHOW statement_timeout") == "41s"
    assert query(access, "SHOW work_mem") == "9MB"
    assert query(access, "SELECT count(*) FROM items") == 200


def test_client_programs_drop_and_create_the_database_again(server, require_postgres):
    bindir = require_postgres.bindir
    if not (bindir / "createdb").exists():
        pytest.skip("these binaries come without client programs")
    server.bindir = bindir
    access = server.create_database("testdb_unit_a", owner="x")
    for argv in (
        ["dropdb", access.name],
        ["createdb", access.name],
        ["createdb", "-T", "template0", "spare"],
        ["psql", "-l"],
    ):
        done = tool(server, access, *argv)
        assert done.returncode == 0, done.stderr
    assert query(access, "SELECT count(*) FROM pg_tables WHERE schemaname = 'shop'") == 0
    assert "testdb_unit_a" in tool(server, access, "psql", "-Atc", "SELECT current_database()").stdout


def test_the_template_is_sealed(server, shop):
    access = server.create_database("testdb_unit_a", owner="x")
    with pytest.raises(psycopg.OperationalError, match="not currently accepting connections"):
        query(access, "SELECT 1", database=shop.database)
    with connect(server.endpoint) as admin, pytest.raises(psycopg.OperationalError):
        psycopg.connect(admin.info.dsn, password=server.endpoint.password.reveal(), dbname=shop.database)
    assert not shop.database.startswith("testdb_")
    with connect(server.endpoint) as admin:
        login = admin.execute("SELECT rolcanlogin FROM pg_roles WHERE rolname = %s", (shop.role,)).fetchone()
    assert login == (False,)


def test_a_template_knows_its_statistics(server):
    access = server.create_database("testdb_unit_a", owner="x")
    assert query(access, "SELECT reltuples FROM pg_class WHERE oid = 'shop.items'::regclass") == 200


def test_a_database_carries_its_owner(server):
    access = server.create_database("testdb_unit_a", owner="it's {mine}")
    mark = query(
        access, "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = current_database()"
    )
    assert mark == "testgrove: it's {mine}"


def test_several_databases_at_once(server):
    with ThreadPoolExecutor(6) as pool:
        made = list(pool.map(lambda n: server.create_database(f"testdb_{n}", owner="x"), range(6)))
    assert [query(access, "SELECT count(*) FROM shop.items") for access in made] == [200] * 6
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda access: server.drop_database(access.name), made))
    assert databases(server) == ["postgres", "template0", "template1", server.template.database]


def test_a_database_that_is_there_is_refused_and_kept(server):
    access = server.create_database("testdb_unit_a", owner="x")
    with pytest.raises(PreconditionError, match="testdb_unit_a already exists") as caught:
        server.create_database("testdb_unit_a", owner="y")
    assert caught.value.code == "database-exists"
    assert query(access, "SELECT count(*) FROM shop.items") == 200


def test_a_database_of_that_name_that_a_test_made_is_not_dropped_when_creation_fails(server):
    access = server.create_database("testdb_unit_a", owner="x")
    run(access, "CREATE DATABASE testdb_unit_b")
    with pytest.raises(UnavailableError, match="already exists"):
        server.create_database("testdb_unit_b", owner="y")
    assert query(access, "SELECT 1", database="testdb_unit_b") == 1
    with connect(server.endpoint) as admin:
        assert admin.execute("SELECT 1 FROM pg_roles WHERE rolname = 'testdb_unit_b'").fetchone() is None


def test_dropping_takes_everything_the_role_made(server):
    access = server.create_database("testdb_unit_a", owner="x")
    run(access, "CREATE DATABASE testdb_unit_a_gw0")
    run(access, "CREATE DATABASE mine IS_TEMPLATE true")
    server.drop_database("testdb_unit_a")
    assert databases(server) == ["postgres", "template0", "template1", server.template.database]
    server.drop_database("testdb_unit_a")
    server.create_database("testdb_unit_a", owner="x")


def test_dropping_ends_a_client_that_stays(server, monkeypatch):
    monkeypatch.setattr("testgrove.services.engines.postgres.sql.PATIENCE", 0.05)
    access = server.create_database("testdb_unit_a", owner="x")
    with psycopg.connect(access.url()) as stays:
        server.drop_database("testdb_unit_a")
        with pytest.raises(psycopg.OperationalError):
            stays.execute("SELECT 1")
    assert "testdb_unit_a" not in databases(server)


def test_dropping_waits_for_a_client_that_leaves(server):
    access = server.create_database("testdb_unit_a", owner="x")
    connection = psycopg.connect(access.url())
    closer = threading.Timer(0.2, connection.close)
    closer.start()
    server.drop_database("testdb_unit_a")
    closer.join()
    assert "testdb_unit_a" not in databases(server)


def test_a_name_that_the_server_would_cut_is_refused(server):
    with pytest.raises(UsageError, match="longer than 63 bytes"):
        server.create_database("x" * 64, owner="x")


def test_a_taken_port_is_named(kit, shop):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", kit.port))
        taken.listen()
        with pytest.raises(PreconditionError, match=str(kit.port)) as caught, kit.server(shop):
            pass
    assert caught.value.code == "port-taken"
    assert str(kit.port) in caught.value.hint
    assert kit.launcher.end() == 0


def test_a_server_that_dies_shows_its_log(kit, shop):
    with (
        pytest.raises(UnavailableError, match="no_such_setting") as caught,
        kit.server(shop, settings={"no_such_setting": "1"}),
    ):
        pass
    assert caught.value.code == "server-died"


@pytest.fixture
def slow_rest(monkeypatch):
    """What is unpacked after the start takes its time."""
    done = threading.Event()

    def unpack(path, folder, owner, last):
        rest = archive.unpack(path, folder, owner, last=last)

        def slowly():
            done.wait(0.3)
            rest()
            done.set()

        return slowly

    monkeypatch.setattr(installation, "unpack", unpack)
    return done


def test_who_gets_a_database_finds_the_cluster_whole(kit, shop, slow_rest):
    with kit.server(shop) as server:
        access = server.create_database("testdb_unit_a", owner="x")
        assert query(access, "SELECT 1", database="postgres") == 1
        run(access, "CREATE DATABASE again TEMPLATE template0")


def test_nothing_is_written_after_stop(kit, shop, slow_rest):
    with kit.server(shop) as server:
        server.stop()
        assert slow_rest.is_set()


def test_a_long_socket_path_is_refused_before_anything_is_made(kit, shop, short_tmp):
    directory = short_tmp / ("d" * 100)
    directory.mkdir()
    with pytest.raises(PreconditionError, match="the limit is 107") as caught:
        kit.installation().start(shop, kit.port, directory)
    assert caught.value.code == "socket-path-too-long"
    assert list(directory.iterdir()) == []


def test_a_projects_settings_win_except_over_what_is_ours(kit, shop):
    with kit.server(shop, settings={"wal_level": "logical", "temp_buffers": "7MB"}) as server:
        access = server.create_database("testdb_unit_a", owner="x")
        assert query(access, "SHOW wal_level") == "logical"
        assert query(access, "SHOW temp_buffers") == "7MB"
        assert query(access, "SHOW max_wal_senders") == "10"
        assert query(access, "SHOW fsync") == "off"


@pytest.mark.parametrize("name", ["port", "listen_addresses", "data_directory", "x; --", ""])
def test_a_setting_that_cannot_be_given_is_refused(name):
    with pytest.raises(UsageError, match="cannot set the"):
        server_settings({name: "1"})


def test_the_server_listens_on_loopback_only_and_ends_with_stop(kit, shop):
    with kit.server(shop) as server:
        access = server.create_database("testdb_unit_a", owner="x")
        assert query(access, "SHOW listen_addresses") == "127.0.0.1"
        assert server.endpoint.version == kit.binaries.version
        server.stop()
        server.stop()
        assert kit.launcher.end() == 0
        with pytest.raises(psycopg.OperationalError):
            query(access, "SELECT 1")


def test_a_server_that_is_killed_leaves_nothing_in_the_kernel(kit, shop):
    def segments():
        return [line.split()[1] for line in Path("/proc/sysvipc/shm").read_text().splitlines()[1:]]

    with kit.server(shop) as server:
        data = kit.folder.joinpath(server.endpoint.socket_dir, "data")
        number = data.joinpath("postmaster.pid").read_text().splitlines()[6].split()[1]
        release_shared_memory(data)
        assert number in segments(), "a segment in use is left alone"
        kit.launcher.started[-1].stop(signal=9, timeout=5)
    until(lambda: (release_shared_memory(data), number not in segments())[1])


def test_a_missing_driver_is_named(kit, shop, monkeypatch):
    monkeypatch.setattr(postgres.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(PreconditionError, match="psycopg") as caught, kit.server(shop):
        pass
    assert (caught.value.code, caught.value.hint) == ("no-driver", "pip install 'testgrove[postgres]'")


def test_a_driver_that_cannot_be_loaded_is_named(kit, shop, monkeypatch):
    monkeypatch.setattr(installation, "require_driver", lambda: None)
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(PreconditionError, match="cannot be imported") as caught, kit.server(shop):
        pass
    assert caught.value.code == "no-driver"
    assert kit.launcher.end() == 0


def test_passwords_need_no_quotes_and_do_not_show(kit, shop):
    with kit.server(shop) as server:
        access = server.create_database("testdb_unit_a", owner="x")
        assert access.password.reveal().isalnum()
        assert isinstance(access.password, Secret)
        listed = Path(f"/proc/{kit.launcher.started[-1].pid}/cmdline").read_text()
        assert server.endpoint.socket_dir in listed
        assert server.endpoint.password.reveal() not in listed
        assert access.password.reveal() not in listed


def databases(server):
    with connect(server.endpoint) as admin:
        return sorted(name for (name,) in admin.execute("SELECT datname FROM pg_database").fetchall())
