"""Ports that another user, another state folder or any other program has: ours is the next one, and nothing fails."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from cli.test_ports import env_file
from grove import Grove, said
from testgrove.app.composition import hold
from testgrove.app.port_leases import ServerPorts
from testgrove.app.project import Project
from testgrove.core.model import LeaseKind
from testgrove.core.settings.parse import port_range
from testgrove.errors import ExhaustedError, PreconditionError
from testgrove.system import git, locations
from testgrove.system.locations import Locations
from testgrove.system.ports import lease_block
from testgrove.system.store import Store

# A listener that comes after the check: to a command that believes every port free, each listener is one.
BLIND = (
    sys.executable,
    "-c",
    "import testgrove.system.ports as p, testgrove.cli.main as m; p.is_free = lambda port: True; m.main()",
)
SERVERS = """
[services.postgres]
[services.redis]
[suites.unit]
services = ["postgres", "redis"]
command = "python -c 'import os; print(os.environ[\\"DATABASE_URL\\"], os.environ[\\"REDIS_URL\\"])'"
"""
PROCESSES = """
[processes.web]
command = "python -m http.server --bind 127.0.0.1 ${API_PORT}"
ready = "http://127.0.0.1:${API_PORT}/"
[suites.unit]
command = "python -c 'import os; print(os.environ[\\"API_PORT\\"])'"
ports = true
processes = ["web"]
"""


@contextmanager
def listening(*ports: int) -> Iterator[list[socket.socket]]:
    """Somebody else's listeners."""
    with ExitStack() as stack:
        yield [stack.enter_context(socket.create_server(("127.0.0.1", port))) for port in ports]


def assert_nobody_came(listeners: list[socket.socket]) -> None:
    for each in listeners:
        each.setblocking(False)
        with pytest.raises(BlockingIOError):
            each.accept()


@pytest.fixture
def project(grove) -> Project:
    planted: Grove = grove()
    where = Locations(planted.state, planted.cache, planted.scratch, planted.scratch)
    return Project(git.discover(planted.repo), where, Store(where.store), lambda *_: None, hold)


def test_a_server_that_cannot_bind_gets_the_next_port_and_leases_only_that(project: Project) -> None:
    leases, first = project.store.leases("run:1"), port_range(project.settings.ports.servers).start
    tried = []

    def start(port: int) -> int:
        assert port in [lease.data["port"] for lease in leases.all()], "leased before it is tried"
        tried.append(port)
        if len(tried) < 3:
            raise PreconditionError("port-taken", "another process listens on it")
        return port

    ports = ServerPorts(project, leases)
    assert ports.start("redis", start) == first + 2
    assert tried == [first, first + 1, first + 2]
    assert [(lease.kind, lease.data["port"]) for lease in leases.all()] == [(LeaseKind.PORTS, first + 2)]


def test_another_error_is_no_reason_to_try_again(project: Project) -> None:
    ports = ServerPorts(project, project.store.leases("run:1"))

    def start(_port: int) -> None:
        raise PreconditionError("unreachable", "something else")

    with pytest.raises(PreconditionError, match="something else"):
        ports.start("redis", start)


def test_each_user_and_state_folder_begins_at_a_place_of_its_own(tmp_path: Path, monkeypatch) -> None:
    def start(user: int, state: Path) -> float:
        monkeypatch.setattr(locations.os, "getuid", lambda: user)
        return Locations(state, state, state, state).port_start

    starts = {start(user, tmp_path / str(folder)) for user in range(1000, 1010) for folder in range(10)}
    assert len(starts) == 100
    assert all(0.0 <= place < 1.0 for place in starts)
    assert start(1000, tmp_path) == start(1000, tmp_path)


@pytest.mark.parametrize("start", [0.0, 0.3, 0.5, 0.999])
def test_from_every_place_the_whole_range_is_leased_without_gaps(tmp_path: Path, start: float) -> None:
    store, ports = Store(tmp_path / "s.db"), range(21400, 21412)
    found = [
        port
        for owner in range(4)
        for port in lease_block(store.leases(f"w:{owner}"), ports, ("app", "api", "db"), start=start).values()
    ]
    assert sorted(found) == list(ports)
    assert found[0] == ports[int(4 * start) * 3]
    with pytest.raises(ExhaustedError):
        lease_block(store.leases("w:more"), ports, ("app",), start=start)


def test_where_nothing_is_left_the_listeners_are_named(tmp_path: Path) -> None:
    store = Store(tmp_path / "s.db")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(ExhaustedError) as caught:
            lease_block(store.leases("w:1"), range(port, port + 1), ("app",))
    assert f"{port} is in use by pid {os.getpid()}" in caught.value.message


@pytest.mark.slow
@pytest.mark.postgres
@pytest.mark.redis
def test_servers_of_a_run_pass_by_listeners_that_came_late(grove, require_postgres, require_redis) -> None:
    project: Grove = grove(config=SERVERS)
    low = project.servers.start
    with listening(low, low + 1, low + 2) as strangers:
        done = project.run("test", program=BLIND)
        assert_nobody_came(strangers)
    assert "another process" not in done.stdout + done.stderr
    project.run("cleanup", "--max-age", "0", "--yes")
    project.auditor().assert_nothing()


@pytest.mark.slow
@pytest.mark.postgres
@pytest.mark.redis
def test_servers_of_a_worktree_pass_by_listeners_that_came_late(grove, require_postgres, require_redis) -> None:
    project: Grove = grove(config=SERVERS)
    low = project.servers.start
    words = ("create", "--purpose", "test-unit", "--identifier", "a", "--branch", "main")
    with listening(low, low + 1) as strangers:
        project.run(*words, program=BLIND)
        assert_nobody_came(strangers)
        values = env_file(project)
        assert not {low, low + 1} & {urlsplit(values[name]).port for name in ("DATABASE_URL", "REDIS_URL")}
        held = {entry["port"]: entry["name"] for entry in project.json("ports", "list")["ports"]}
        assert low not in held
        assert low + 1 not in held
        project.run("db", "reset", "a")
    project.run("remove", "a")
    project.auditor().assert_nothing()


@pytest.mark.slow
def test_a_block_is_looked_at_again_before_processes_start(grove) -> None:
    project: Grove = grove(config=PROCESSES)
    low = project.ports.start
    with listening(low + 1) as strangers:
        done = project.run("test", program=BLIND)
        assert_nobody_came(strangers)
    assert said(done).count("passed") >= 1, said(done)
    output = next(project.runs()[-1].glob("*/output.log")).read_text()
    assert output == f"{low + 4}\n"


def test_processes_beside_a_command_get_ports_that_are_free(grove) -> None:
    project: Grove = grove(config=PROCESSES)
    low = project.ports.start
    project.create("test-unit", "a", "--ports", "--no-env")
    words = ("exec", "--processes", "web", "a", "--", "sh", "-c", "echo $API_PORT")
    with listening(low):
        done = project.run(*words, env={"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"})
    assert done.stdout == f"{low + 4}\n", said(done)
    assert (
        f"another process listens on a port of test-unit-a; its new ports: {low + 3} {low + 4} {low + 5}" in done.stderr
    )
    assert env_file(project)["API_PORT"] == str(low + 4)
