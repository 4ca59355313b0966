"""What the plugin reports of variables and of the drivers' connections, with real drivers and real servers."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
import time
import types

import pytest

import needs
import users_server
from pytest_testgrove import drivers as wrapping

pytestmark = [pytest.mark.postgres, pytest.mark.redis]

ALL = """
import asyncio, pytest
URL, SOCKET, REDIS, BOLT = {url!r}, {socket!r}, {redis!r}, {bolt!r}

def test_psycopg():
    import psycopg
    for _ in range(2):
        psycopg.connect(URL).close()
    psycopg.connect(f"host={{SOCKET}} port={port} user=postgres").close()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect("postgresql://localhost:1/x")

def test_psycopg_async():
    import psycopg
    async def use():
        await (await psycopg.AsyncConnection.connect(URL + "?application_name=a", dbname="template1")).close()
    asyncio.run(use())

def test_psycopg2():
    from psycopg2 import connect
    connect(URL.replace("127.0.0.1", "localhost")).close()

def test_asyncpg():
    import asyncpg
    async def use():
        await (await asyncpg.connect(URL, server_settings={{"application_name": "b"}}, database="template1")).close()
        pool = await asyncpg.create_pool(host=SOCKET, port={port}, user="postgres", min_size=1, database="template1")
        await pool.close()
    asyncio.run(use())

def test_redis():
    import redis
    client = redis.from_url(REDIS + "/1")
    client.ping(), client.ping()
    client.close()

def test_redis_async():
    import redis.asyncio
    async def use():
        client = redis.asyncio.from_url(REDIS + "/2")
        await client.ping()
        await client.aclose()
    asyncio.run(use())

def test_neo4j():
    import neo4j
    with neo4j.GraphDatabase.driver(BOLT, connection_acquisition_timeout=1, max_transaction_retry_time=0) as driver:
        with pytest.raises(Exception):
            driver.verify_connectivity()

def test_pymysql():
    import pymysql
    with pytest.raises(pymysql.err.OperationalError):
        pymysql.connect(host="127.0.0.1", port=1)
"""


def hang_up(server: socket.socket) -> None:
    server.accept()[0].close()


def test_every_driver_says_where_it_has_connected_to_once(suite, drivers, require_postgres, require_redis):
    with (
        users_server.users_postgres(require_postgres) as postgres,
        users_server.users_redis(require_redis) as redis_port,
        socket.create_server(("127.0.0.1", 0)) as silent,
    ):
        threading.Thread(target=hang_up, args=(silent,)).start()
        bolt = silent.getsockname()[1]
        text = ALL.format(
            url=postgres.url,
            port=postgres.port,
            socket=str(postgres.folder),
            redis=f"redis://:{users_server.QUOTED}@localhost:{redis_port}",
            bolt=f"bolt://localhost:{bolt}",
        )
        suite.python = str(drivers / "bin/python")
        result = suite.run("-W", "ignore", test_all=text)
    assert set(result.outcomes().values()) == {"passed"}, result.output
    found = {(e["test"].rpartition("_")[2], e["engine"], e["host"], e["address"], e["port"], e["database"])
             for e in result.of("connection")}  # fmt: skip
    port, local, path = postgres.port, "127.0.0.1", f"{postgres.folder}/.s.PGSQL.{postgres.port}"
    assert {one[1:] for one in found if one[1] != "neo4j"} == {
        ("postgres", local, local, port, "postgres"),
        ("postgres", path, "", 0, "postgres"),
        ("postgres", local, local, port, "template1"),
        ("postgres", "localhost", "", port, "postgres"),  # psycopg2 does not say
        ("postgres", path, "", 0, "template1"),
        ("redis", "localhost", local, redis_port, "1"),
        ("redis", "localhost", local, redis_port, "2"),
    }
    assert [one[3:] for one in found if one[1] == "neo4j"] == [(local, bolt, "")]
    assert len(result.of("connection")) == len(found)
    first = result.of("connection")[0]
    assert (first["where"], first["test"]) == ("test_all.py:8", "test_all.py::test_psycopg")
    assert "s3cret" not in str(result.records)


@pytest.fixture
def mariadb(tmp_path, short_tmp):
    """A real server; its port and its socket."""
    program, install = shutil.which("mariadbd"), shutil.which("mariadb-install-db")
    if not program or not install:
        needs.missing("mariadb", "there is no MariaDB server on PATH")
    data, path, port = tmp_path / "data", short_tmp / "mysql.sock", users_server.free_port()
    user = ("--user=root",) if os.geteuid() == 0 else ()
    words = ("--no-defaults", f"--datadir={data}", *user)
    subprocess.run(
        (install, *words, "--auth-root-authentication-method=normal", "--skip-test-db"), check=True, capture_output=True
    )
    words += (f"--socket={path}", f"--port={port}", "--bind-address=127.0.0.1", f"--pid-file={short_tmp}/pid")
    with subprocess.Popen((program, *words), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        deadline = time.monotonic() + 30
        while not path.exists():
            assert time.monotonic() < deadline, "the server does not come up"
            time.sleep(0.02)
        yield port, path
        server.kill()


@pytest.mark.slow
def test_pymysql_says_where_it_has_connected_to(suite, drivers, mariadb):
    port, path = mariadb
    suite.python = str(drivers / "bin/python")
    result = suite.run(
        test_it="import pymysql\ndef test_it():\n"
        f"    pymysql.connect(host='localhost', port={port}, user='root', database='mysql').close()\n"
        f"    pymysql.connect(unix_socket='{path}', user='root').close()\n"
    )
    assert result.outcomes() == {"test_it": "passed"}, result.output
    found = [(e["engine"], e["host"], e["address"], e["port"], e["database"]) for e in result.of("connection")]
    assert found == [("mysql", "localhost", "127.0.0.1", port, "mysql"), ("mysql", str(path), "", 0, "")]


def test_mysqlclient_is_asked_which_host_it_has_reached():
    """A stand-in: there is no wheel of mysqlclient, and it is built only where the C library's headers are."""

    class Connection:
        def __init__(self, *args: object, **kwargs: object) -> None:
            self.info = "Localhost via UNIX socket" if "unix_socket" in kwargs else f"{kwargs['host']} via TCP/IP"

        def get_host_info(self) -> str:
            return self.info

    told: list[wrapping.Target] = []
    module = types.SimpleNamespace(Connection=Connection)
    wrapping._wrap("MySQLdb.connections", module, told.append)
    Connection(host="db.example", port=3307, db="shop")
    Connection(unix_socket="/run/mysqld/mysqld.sock", database="shop")
    assert told == [
        ("mysql", "db.example", "", 3307, "shop"),
        ("mysql", "/run/mysqld/mysqld.sock", "", 0, "shop"),
    ]


def test_variables_are_reported_when_they_change_with_what_has_run_and_without_passwords(suite):
    suite.env["DATABASE_URL"] = "postgresql://me:s3cret@localhost/a"
    result = suite.run(
        conftest="import os\nos.environ['DATABASE_URL'] = 'postgresql://me:s3cret@db/b'\n",
        test_a="import os\ndef test_it(monkeypatch):\n    monkeypatch.setenv('REDIS_URL', 'redis://x')\n"
        "def test_more():\n    os.environ['PGHOST'] = 'db'\n    os.environ['PGPASSWORD'] = 's3cret'\n",
        test_b="import os\nos.environ['SHOP_DSN'] = 'host=db password=s3cret'\n"
        "def test_it():\n    del os.environ['PGHOST']\n",
    )
    found = [(record["where"], record["values"], record["gone"]) for record in result.of("values")]
    first = found.pop(0)
    assert (first[0], first[1]["DATABASE_URL"]) == ("", "postgresql://me@localhost/a")
    assert found == [
        ("conftest.py", {"DATABASE_URL": "postgresql://me@db/b"}, []),
        ("test_b.py", {"SHOP_DSN": "host=db password=-"}, []),
        ("test_a.py", {"PGHOST": "db"}, []),
        ("test_b.py", {}, ["PGHOST"]),
    ]
