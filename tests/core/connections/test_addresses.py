"""Where URLs, DSNs and variables lead, and whether that is what a worktree was permitted."""

from __future__ import annotations

from pathlib import PurePath

import pytest

from testgrove.core.connections.addresses import Address, parse_permission, resolve_postgres, resolve_url, same_server
from testgrove.core.connections.permitted import (
    ForeignConnection,
    PermittedConnections,
    foreign_addresses,
    how_to_permit,
    permitted_for,
    shown_command,
    variable_leads,
)
from testgrove.core.model import DatabaseAccess
from testgrove.core.secret import Secret

OURS = {"PGHOST": "127.0.0.1", "PGPORT": "15003", "PGUSER": "testdb_unit_x", "DATABASE_URL": "unused"}
TREE = PurePath("/work/tree")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("postgresql://user:p%40ss@DB.example/shop", "postgres db.example:15003 database 'shop'"),
        ("postgres://db:6000/shop?sslmode=require", "postgres db:6000 database 'shop'"),
        ("postgresql+psycopg2://localhost/shop", "postgres localhost:15003 database 'shop'"),
        ("postgresql://localhost:5432", "postgres localhost:5432 database 'testdb_unit_x'"),
        ("postgresql:///shop?host=/run/postgresql&port=5433", "postgres /run/postgresql/.s.PGSQL.5433 database 'shop'"),
        ("postgresql://%2Fvar%2Flib%2Fpg/shop", "postgres /var/lib/pg/.s.PGSQL.15003 database 'shop'"),
        ("postgresql://[::1]:5432/shop", "postgres [::1]:5432 database 'shop'"),
        ("postgresql:///shop", "postgres 127.0.0.1:15003 database 'shop'"),
        ("postgresql:///shop?service=prod", "postgres service 'prod' database 'shop'"),
        ("host=db.example dbname='my shop'", "postgres db.example:15003 database 'my shop'"),
        ("dbname=postgresql://db.example:5432/shop", "postgres db.example:5432 database 'shop'"),
        ("jdbc:postgresql://db:5432/shop", "postgres db:5432 database 'shop'"),
        ("redis://:secret@cache/3", "redis cache:6379 database '3'"),
        ("rediss://cache:6380", "redis cache:6380 database '0'"),
        ("unix:///run/redis/redis.sock?db=2", "redis /run/redis/redis.sock database '2'"),
        ("mysql+pymysql://root@db/shop", "mysql db:3306 database 'shop'"),
        ("mysql:///shop?unix_socket=/run/mysqld/mysqld.sock", "mysql /run/mysqld/mysqld.sock database 'shop'"),
        ("neo4j+s://graph.example", "neo4j graph.example:7687"),
        ("bolt://localhost:7688", "neo4j localhost:7688"),
        ("sqlite:////var/lib/shop.db", "sqlite file /var/lib/shop.db"),
        ("sqlite+aiosqlite:///shop.db?cache=shared", "sqlite file shop.db"),
        ("sqlite://", "sqlite file :memory:"),
    ],
)
def test_a_url_or_a_dsn_leads_where_its_driver_would_connect(text: str, expected: str) -> None:
    (found,) = resolve_url(text, OURS)
    assert str(found) == expected


@pytest.mark.parametrize(
    "text", ["", "http://localhost:8000/x", "amqp://localhost", "localhost:6379", "some text", "a=b"]
)
def test_what_is_no_database_leads_nowhere(text: str) -> None:
    assert resolve_url(text, OURS) == ()


def test_libpq_takes_parameters_before_the_service_before_variables_before_defaults() -> None:
    file = "# mine\n[prod]\nhost=db.example\nport=6001\n\n[half]\ndbname=shop\n"

    def leads(parameters: dict[str, str], **environ: str) -> str:
        return str(resolve_postgres(parameters, environ, file)[0])

    assert leads({}) == "postgres /var/run/postgresql/.s.PGSQL.5432"
    assert leads({}, PGHOST="db", PGPORT="5433", PGDATABASE="a") == "postgres db:5433 database 'a'"
    assert leads({}, PGHOST="db", PGHOSTADDR="10.0.0.5") == "postgres 10.0.0.5:5432"
    assert leads({"host": "other"}, PGHOSTADDR="10.0.0.5") == "postgres other:5432"
    assert leads({}, PGSERVICE="prod", PGHOST="localhost", PGPORT="1") == "postgres db.example:6001"
    assert leads({"port": "7"}, PGSERVICE="prod") == "postgres db.example:7"
    assert leads({}, PGSERVICE="half", PGHOST="db") == "postgres db:5432 database 'shop'"
    assert leads({}, PGSERVICE="unknown") == "postgres service 'unknown'"


def test_each_of_several_hosts_counts() -> None:
    found = resolve_url("postgresql://a:1,b,[::1]:3/shop?target_session_attrs=any", {})
    assert [each.permission for each in found] == ["a:1", "b:5432", "[::1]:3"]


def test_localhost_is_one_server_under_all_its_names() -> None:
    names = (
        "localhost:5432",
        "127.0.0.1:5432",
        "[::1]:5432",
        "[::ffff:127.0.0.1]:5432",
        "/run/postgresql/.s.PGSQL.5432",
    )
    first, *others = map(parse_permission, names)
    assert all(same_server(first, other) and same_server(other, first) for other in others)
    for name in ("localhost:5433", "db:5432", "/elsewhere/.s.PGSQL.5432", "/run/postgresql/.s.PGSQL.5433"):
        assert not same_server(first, parse_permission(name)), name


@pytest.mark.parametrize(
    "text", ["", "localhost", "localhost:", "localhost:0", "localhost:65536", "a b:1", "http://a:1", "/"]
)
def test_a_permission_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="host:port"):
        parse_permission(text)


def access(engine: str, name: str, port: int, permitted: str = "", socket_dir: str = "") -> DatabaseAccess:
    secret = Secret("x")
    return DatabaseAccess(
        engine, name, "127.0.0.1", port, "u", secret, socket_dir, Secret(permitted) if permitted else None
    )


def test_on_a_server_of_our_own_every_database_is_ours() -> None:
    permitted = permitted_for(
        {"postgres": access("postgres", "testdb_unit_x", 15003, socket_dir="/dev/shm/s")}, [TREE], []
    )
    for text in (
        "postgresql://localhost/testdb_integration_by_hand",  # the port is PGPORT
        "postgresql://localhost:15003/testdb_unit_x_gw0",
        "postgresql://127.0.0.1:15003/postgres",
        "postgresql:///any?host=/dev/shm/s",
        "sqlite://",
        "sqlite:///test.db",
        "sqlite:////work/tree/test.db",
        "http://localhost:5432",
    ):
        assert foreign_addresses(text, permitted, OURS) == (), text
    for text in (
        "postgresql://localhost:5432/dev",
        "redis://localhost",
        "sqlite:////home/me/dev.db",
        "sqlite:///../dev.db",
    ):
        assert foreign_addresses(text, permitted, OURS), text


def test_on_an_external_server_ours_and_postgres_are_permitted() -> None:
    url = "postgresql://ci:x@db.example/testdb_unit_x"
    redis = "redis://cache.example/4"
    permitted = permitted_for(
        {"postgres": access("postgres", "", 0, url), "redis": access("redis", "4", 0, redis)}, [TREE], []
    )
    for database in ("testdb_unit_x", "postgres", "test_testdb_unit_x", "testdb_unit_x_gw1", "testgrove_lent_1"):
        assert foreign_addresses(f"postgresql://db.example/{database}", permitted, {}) == (), database
    assert foreign_addresses(redis, permitted, {}) == ()
    for other in (
        "postgresql://db.example/shop",
        "postgresql://db.example:5433/testdb_unit_x",
        "redis://cache.example/0",
    ):
        assert foreign_addresses(other, permitted, {}), other


def test_a_variable_leads_where_it_and_its_like_lead_together() -> None:
    environ = OURS | {
        "DATABASE_URL": "postgresql:///shop",
        "PGSERVICE": "prod",
        "SQLITE_PATH": "/home/me/x.db",
        "A_URL": "http://a",
    }
    assert [str(one) for one in variable_leads("DATABASE_URL", environ)] == ["postgres service 'prod' database 'shop'"]
    file = "[prod]\nhost=db\nport=5433\n"
    assert [str(one) for one in variable_leads("PGSERVICE", environ, file)] == [
        "postgres db:5433 database 'testdb_unit_x'"
    ]
    assert [str(one) for one in variable_leads("SQLITE_PATH", environ)] == ["sqlite file /home/me/x.db"]
    assert variable_leads("A_URL", environ) == variable_leads("B_URL", environ) == ()


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        ("psql postgresql://me:a/b@c@db/x -c 1", "psql postgresql://me:****@db/x -c 1"),
        ("psql host=db password=abc", "psql host=db password=****"),
        ("redis-cli -h db -a abc PING", "redis-cli -h db -a **** PING"),
        ("/usr/bin/mysql -u root -pabc x", "/usr/bin/mysql -u root -p**** x"),
        ("psql -p 5432 postgresql://db/x", "psql -p 5432 postgresql://db/x"),
    ],
)
def test_a_command_line_is_shown_without_passwords(command: str, shown: str) -> None:
    assert shown_command(command) == shown


def test_what_the_setting_names_is_permitted_and_the_hint_names_it() -> None:
    (found,) = foreign_addresses("postgresql://warehouse:5439/facts", PermittedConnections(), {})
    assert str(ForeignConnection(found, "$X leads to", "set by a.py")).startswith(
        "$X leads to postgres warehouse:5439 database 'facts', which does not belong to this worktree (set by a.py); to"
    )
    assert how_to_permit(found).endswith('allow_connections = ["warehouse:5439"]')
    assert foreign_addresses("postgresql://warehouse:5439/facts", permitted_for({}, [], ["warehouse:5439"]), {}) == ()
    (socket,) = foreign_addresses("postgresql:///x?host=/srv/pg", PermittedConnections(), {})
    assert foreign_addresses("postgresql:///x?host=/srv/pg", permitted_for({}, [], [socket.permission]), {}) == ()
    assert isinstance(socket, Address)
    assert socket.is_local
