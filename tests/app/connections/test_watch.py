"""What is judged of one attempt's connections. The servers are plain listeners: only who holds them matters."""

from __future__ import annotations

import itertools
import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from testgrove.app.connections import aliases
from testgrove.app.connections.watch import AttemptConnections
from testgrove.core.connections.addresses import Address, parse_permission
from testgrove.core.connections.permitted import PermittedConnections
from testgrove.core.runs.leaks import TrackedResource
from testgrove.system.connections import Connection
from testgrove.system.processes.supervision import Job, Supervisor

LISTEN = "import socket, time; s = socket.create_server(('127.0.0.1', {})); time.sleep(60)"
DOCKER = """#!/bin/sh
case "$*" in
info*) echo '{{"ID": "x", "SystemTime": "'$(date +%Y-%m-%dT%H:%M:%S.%N%:z)'"}}' ;;
ps*publish={port}) echo abc ;;
inspect*) echo '{{"Id": "abc", "Created": "{created}", "Config": {{}}}}' ;;
esac
"""


@pytest.fixture
def server() -> Iterator[int]:
    """The port of a listener that no supervisor of ours has started: somebody's."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def connections(permitted: PermittedConnections = PermittedConnections(), **environ: str) -> AttemptConnections:  # noqa: B008 - it is frozen
    return AttemptConnections(permitted, ["DATABASE_URL"], environ, Path("/nowhere"), list)


def connect(attempt: AttemptConnections, port: int, host: str = "localhost", **more: Any) -> list[str]:
    found = {"type": "connection", "engine": "postgres", "host": host, "address": "127.0.0.1", "port": port}
    attempt.take(found | {"database": "x", "where": "tests/test_a.py:3", "test": ""} | more)
    return list(map(str, attempt.foreign))


def test_a_visible_foreign_server_is_judged_at_once(server, monkeypatch):
    """While one connection is judged, the sockets of the other attempts are not looked at."""
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    attempt = connections()
    attempt.see(Connection(1, 2, "psql", "127.0.0.1", server))
    assert attempt.foreign
    assert not any(pauses)


def test_somebodys_server_is_strange_once_whoever_sees_it(server):
    attempt = connections()
    (told,) = connect(attempt, server)
    assert told.startswith(f"a driver connected to postgres localhost:{server} database 'x', which")
    assert "(tests/test_a.py:3); to allow it, set in [tool.testgrove]: " in told
    assert told.endswith(f'allow_connections = ["localhost:{server}"]')
    assert len(connect(attempt, server)) == 1
    attempt = connections()
    for _ in range(2):
        attempt.see(Connection(1, 2, "psql postgresql://me:pw@localhost/x", "127.0.0.1", server))
    assert [each.what for each in attempt.foreign] == ["`psql postgresql://me:****@localhost/x` connected to"]


def test_a_server_with_numbered_databases_is_foreign_once(server):
    attempt = connections()
    attempt.see(Connection(1, 2, "pytest", "127.0.0.1", server))
    for number in ("0", "1", "2"):
        told = connect(attempt, server, engine="redis", database=number)
    assert len(told) == 1, told
    assert told[0].startswith(f"a driver connected to redis localhost:{server} database '0', which")
    attempt.see(Connection(1, 2, "pytest", "127.0.0.1", server))
    assert len(attempt.foreign) == 1
    assert len(connect(attempt, server + 1, engine="redis", host="db.example", address="192.0.2.1")) == 2


def test_of_a_server_with_named_databases_each_is_foreign(server):
    attempt = connections()
    attempt.see(Connection(1, 2, "pytest", "127.0.0.1", server))
    connect(attempt, server, database="a")
    assert [each.split("database ")[1][:3] for each in connect(attempt, server, database="b")] == ["'a'", "'b'"]


def test_what_is_permitted_by_any_of_its_names_is_none_and_what_nobody_serves_neither(server):
    for name in (f"127.0.0.1:{server}", f"localhost:{server}", f"[::1]:{server}"):
        assert connect(connections(PermittedConnections(allowed=(parse_permission(name),))), server) == []
    named = PermittedConnections(external=(Address("postgres", socket.gethostname(), server, database="x"),))
    address = socket.gethostbyname(socket.gethostname())
    assert connect(connections(named), server, address, address=address) == []
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    assert connect(connections(), port) == []
    assert connect(connections(), 0, "/nowhere/.s.PGSQL.5432", address="") == []


def test_a_server_that_a_process_of_the_run_has_started_is_the_runs(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    supervisor = Supervisor.start()
    try:
        supervisor.start_job(Job([sys.executable, "-c", LISTEN.format(port)], tmp_path, os.environ))
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                assert time.monotonic() < deadline
        attempt = connections()
        assert connect(attempt, port) == []
        own, other = f"socket 127.0.0.1:4711 127.0.0.1:{port}", "socket 127.0.0.1:4711 192.0.2.1:80"
        found = [TrackedResource("descriptor", name) for name in (own, other, "/tmp/x", "socket pair")] + [
            TrackedResource("thread", own)
        ]
        assert [thing.name for thing in attempt.without_own(found)] == [other, "/tmp/x", "socket pair", own]
    finally:
        supervisor.close()


def test_a_container_made_during_the_attempt_is_the_tests_own_and_an_older_one_is_not(server, tmp_path):
    """A stand-in for `docker`: an engine publishes ports with a bridge and iptables, which tests do not touch."""
    docker = tmp_path / "docker"
    environ = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "DOCKER_HOST": "unix:///nowhere"}
    docker.write_text("#!/bin/sh\nexit 1\n")
    docker.chmod(0o755)
    assert connect(connections(**environ), server) == []  # nobody can tell, and containers get such ports
    attempt = connections(**environ)
    for created, expected in (("2020-01-01T00:00:00Z", 1), ("2999-01-01T00:00:00Z", 0)):
        docker.write_text(DOCKER.format(port=server, created=created))
        assert len(connect(connections(**environ), server)) == expected, created
    docker.write_text(DOCKER.format(port=1, created="2999-01-01T00:00:00Z"))
    assert len(connect(attempt, server)) == 1


def test_variables_are_judged_with_those_that_complete_them(tmp_path):
    permitted = PermittedConnections(own=(Address("postgres", "127.0.0.1", 15003),))
    (tmp_path / ".env.dev").write_text("DATABASE_URL='postgresql://me:pw@db.example/shop'\n")

    def judged(values: dict[str, str], *gone: str) -> list[str]:
        environ = {"DATABASE_URL": "postgresql://u@127.0.0.1:15003/x", "PGPORT": "15003"}
        attempt = AttemptConnections(permitted, ["DATABASE_URL", "PGPORT"], environ, tmp_path, list)
        attempt.take({"type": "values", "values": values, "gone": gone, "where": "conftest.py"})
        return list(map(str, attempt.foreign))

    assert judged({"DATABASE_URL": "postgresql://localhost/by_hand"}) == []
    assert judged({"DATABASE_URL": "sqlite://", "OTHER_URL": "postgresql://production/x"}) == []
    (told,) = judged({"DATABASE_URL": "postgresql://me@db.example:5432/shop", "PGPORT": "15003"})
    assert "set by conftest.py); to" in told
    (told,) = judged({"DATABASE_URL": "postgresql://me@db.example/shop"})
    assert "postgres db.example:15003 database 'shop'" in told
    assert "(set by conftest.py as .env.dev has it)" in told
    assert [each.split(",")[0] for each in judged({"PGHOST": "localhost"}, "PGPORT")] == [
        "$PGPORT leads to postgres localhost:5432"
    ]


def test_the_file_of_sqlite_is_judged_too(tmp_path):
    permitted = PermittedConnections(external=(Address("sqlite", database="/kept/x.db"),), folders=(tmp_path,))
    for path, strange in (("/kept/x.db", 0), (":memory:", 0), (f"{tmp_path}/y.db", 0), ("/home/me/dev.db", 1)):
        attempt = AttemptConnections(permitted, ["SQLITE_PATH"], {"SQLITE_PATH": "/kept/x.db"}, tmp_path, list)
        attempt.take({"type": "values", "values": {"SQLITE_PATH": path}, "gone": [], "where": "conftest.py"})
        assert len(attempt.foreign) == strange, path


def test_a_permitted_name_that_leads_elsewhere_each_time_it_is_resolved_is_permitted(monkeypatch):
    """The name service is a stand-in: this machine's knows no name with several addresses."""
    turns = itertools.cycle([{"192.0.2.1"}, {"192.0.2.2"}])
    answers = {"db.example": turns, "192.0.2.1": itertools.repeat({"192.0.2.1"})}
    monkeypatch.setattr(aliases, "addresses_of", lambda host: next(answers[host]) if host in answers else {host})
    permitted = PermittedConnections(allowed=(parse_permission("db.example:5432"),))

    attempt = connections(permitted)
    attempt.see(Connection(1, 2, "pytest", "192.0.2.9", 5432))  # before the driver reports it
    attempt.see(Connection(1, 2, "psql", "192.0.2.2", 5432))  # no driver reports it
    attempt.judge_held(after=60)
    assert connect(attempt, 5432, "db.example", address="192.0.2.9") == []
    attempt.judge_held()
    assert attempt.foreign == []

    attempt.see(Connection(1, 2, "psql", "192.0.2.66", 5432))
    attempt.judge_held()
    assert [each.address.host for each in attempt.foreign] == ["192.0.2.66"]
