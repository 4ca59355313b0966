"""Connections of descendants, as the kernel shows them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from testgrove.system import connections
from testgrove.system.connections import Sampler

CONNECT = """
import socket, sys
kept = [socket.socket(socket.AF_UNIX)]
kept[0].connect(sys.argv[1])
for host in ("127.0.0.1", "::1"):
    kept.append(socket.create_connection((host, int(sys.argv[2]))))
print("ready", flush=True)
sys.stdin.read()
"""


def test_each_connection_of_a_descendant_is_told_once_and_no_other(short_tmp):
    path = str(short_tmp / ".s.PGSQL.5432")
    with (
        socket.socket(socket.AF_UNIX) as local,
        socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as server,
        socket.create_server(("127.0.0.1", 0)) as unwatched,
        socket.socket() as own,
    ):
        local.bind(path)
        local.listen()
        port = server.getsockname()[1]
        own.connect(("127.0.0.1", port))
        sampler = Sampler([port])
        words = (sys.executable, "-c", CONNECT, path, str(port))
        with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            child.stdout.readline()
            accepted = local.accept()[0]  # until then the kernel has no second end to show
            found = sampler.look([os.getpid()])
            assert {(each.host, each.port, each.socket) for each in found} == {
                ("127.0.0.1", port, ""),
                ("::1", port, ""),
                ("", 0, path),
            }
            assert {(each.root, each.pid) for each in found} == {(os.getpid(), child.pid)}
            assert " -c " in found[0].command
            assert sampler.look([os.getpid()]) == []
            assert Sampler([port]).look([child.pid]) == []  # a root itself is not one of its descendants
            assert Sampler([unwatched.getsockname()[1]]).look([os.getpid()])[0].socket == path
            accepted.close()
            child.stdin.close()  # type: ignore[union-attr]
        assert os.getpid() in (connections.listeners_at(path) or ())
    assert connections.listeners_at(path) is None


@pytest.mark.redis
def test_a_database_server_is_known_by_its_program_on_any_port(tmp_path, require_redis):
    """Somebody's server: not below the root. A server below it is the descendants' own."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    words = (str(require_redis.path), "--port", str(port), "--bind", "127.0.0.1", "--save", "")
    connect = "import socket, sys; s = socket.create_connection(('127.0.0.1', int(sys.argv[1])))\n"
    connect += "print(1, flush=True)\nsys.stdin.read()"
    detached = ("sh", "-c", 'setsid "$@" >/dev/null 2>&1 & echo $!', "sh", *words)
    pid = int(subprocess.run(detached, capture_output=True, text=True, check=True, cwd=tmp_path).stdout)
    try:
        while not connections.accepts(port):
            pass
        client = ("sh", "-c", '"$@"; true', "sh", sys.executable, "-c", connect, str(port))
        with subprocess.Popen(client, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            child.stdout.readline()
            found = Sampler().look([child.pid])
            assert [(each.host, each.port) for each in found] == [("127.0.0.1", port)]
            child.stdin.close()  # type: ignore[union-attr]
    finally:
        os.kill(pid, 9)


def test_a_kernel_that_does_not_tell_is_no_failure(monkeypatch):
    monkeypatch.setattr(connections, "_DIAG", 99)  # no such protocol
    assert Sampler().look([os.getpid()]) == []
