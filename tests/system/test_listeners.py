"""Who listens on a port: found by what the kernel says, whoever it is."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys

import pytest

from testgrove.system import connections
from testgrove.system.listeners import listeners, listening_among
from testgrove.system.processes.supervision import Job, Supervisor

LISTEN = """
import os, socket, sys
server = socket.create_server(("127.0.0.1", 0), family=socket.AF_INET)
if "daemon" in sys.argv and os.fork() == 0:
    os.setsid()
print(server.getsockname()[1], os.getpid(), flush=True)
sys.stdin.read() if "stdin" in sys.argv else __import__("signal").pause()
"""


@pytest.fixture
def server():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def port_of(server: socket.socket) -> int:
    return server.getsockname()[1]


def test_nobody_listens_on_a_port_that_is_only_bound():
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        assert listeners(port_of(bound)) == []


def test_a_listener_is_named_with_the_command_that_ends_it(server):
    (found,) = listeners(port_of(server))
    assert (found.pid, found.uid) == (os.getpid(), os.getuid())
    assert str(os.getpid()) in str(found)
    assert found.ending == f"kill {os.getpid()}"
    assert found.descends_from(os.getpid())
    assert found.descends_from(os.getppid())
    assert not found.descends_from(os.getpid() + 1)


def test_every_address_counts(server):
    port = port_of(server)
    with socket.socket(socket.AF_INET6) as other:
        other.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        try:
            other.bind(("::1", port))
        except OSError:
            pytest.skip("no IPv6 here")
        other.listen()
        server.close()
        assert [each.pid for each in listeners(port)] == [os.getpid()]


@pytest.mark.parametrize("refused", [False, True])
def test_ports_are_found_also_where_the_kernel_refuses_to_list_sockets(server, monkeypatch, refused):
    """As in a container whose seccomp filter has no netlink: then its table in /proc is read."""
    if refused:
        monkeypatch.setattr(connections, "_DIAG", 31)  # a protocol that is not there
        assert connections.listening_ports() is None
    with socket.socket() as bound, socket.create_connection(server.getsockname()) as client:
        bound.bind(("127.0.0.1", 0))
        ports = [port_of(each) for each in (server, bound, client)]
        assert listening_among(ports) == {ports[0]}
    assert listening_among(()) == set()


def test_a_connection_is_no_listener(server):
    with socket.create_connection(server.getsockname()) as client, server.accept()[0]:
        server.close()
        assert listeners(client.getpeername()[1]) == []


@pytest.mark.parametrize("how", ["plain", "daemon"])
def test_what_a_supervisor_started_descends_from_it(tmp_path, how):
    supervisor, stranger = Supervisor.start(), Supervisor.start()
    try:
        output = tmp_path / "log"
        supervisor.start_job(Job([sys.executable, "-c", LISTEN, how], tmp_path, {}, output))
        while len(output.read_text().splitlines() if output.exists() else "") < (2 if how == "daemon" else 1):
            assert supervisor.wait(0.01) is None
        port = int(output.read_text().split()[0])
        found = listeners(port)
        assert len(found) == (2 if how == "daemon" else 1), "each holder of the socket is named"
        assert all(each.descends_from(supervisor.pid) for each in found)
        assert not any(each.descends_from(stranger.pid) for each in found)
    finally:
        supervisor.close()
        stranger.close()
    assert listeners(port) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user for a moment")
def test_a_listener_that_the_kernel_hides_is_known_by_its_user(server):
    port = port_of(server)
    reader, writer = os.pipe()
    if os.fork() == 0:  # not executed: the interpreter may lie where another user cannot go
        try:
            server.close()
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            os.write(writer, "\n".join(f"{each.pid}|{each}|{each.ending}" for each in listeners(port)).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        assert pipe.read() == f"None|a process of user 0|sudo fuser -k {port}/tcp"
    os.wait()


def test_a_listener_that_has_ended_is_gone():
    with subprocess.Popen([sys.executable, "-c", LISTEN], stdout=subprocess.PIPE, text=True) as process:
        port = int(process.stdout.readline().split()[0])
        assert [each.pid for each in listeners(port)] == [process.pid]
        process.send_signal(signal.SIGKILL)
    assert listeners(port) == []
