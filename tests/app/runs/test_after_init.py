"""A project that needs a server: what a first run says, and a run after `testgrove init` without another line."""

from __future__ import annotations

import json
import sys

import pytest

from grove import Grove, said

PING = """
import os, socket

HOST, PORT = os.environ.get("REDIS_HOST", "localhost"), int(os.environ.get("REDIS_PORT", 6379))

def test_it():
    with socket.create_connection((HOST, PORT)) as client:
        client.sendall(b"PING\\r\\n")
        assert client.recv(100) == b"+PONG\\r\\n"
"""
REFUSED = """
import os

def test_it():
    assert "REDIS_HOST" in os.environ, "Error 111 connecting to localhost:6379. Connection refused."
"""


def run(project: Grove) -> tuple[str, str]:
    """The status of the only cell, and all that was said."""
    done = project.run("test", "--here", "--json", env={"VIRTUAL_ENV": sys.prefix}, check=False)
    assert done.stdout, said(done)
    return json.loads(done.stdout)["cells"][0]["status"], done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.redis
def test_redis_by_host_and_port(grove, require_redis):
    project = grove(files={"requirements.txt": "redis\npytest\n", "tests/test_a.py": REFUSED})
    ports = (project.repo / "testgrove.toml").read_text()
    (project.repo / "testgrove.toml").unlink()
    status, words = run(project)
    assert status == "failed"
    assert "nothing listens on port 6379" in words
    assert '"hint": "run `testgrove init`, or declare [services.redis] in testgrove.toml"' in words
    project.write({"tests/test_a.py": PING})
    project.run("init")
    written = (project.repo / "testgrove.toml").read_text()
    project.write({"testgrove.toml": written + ports})
    assert run(project)[0] == "passed"
    project.auditor().assert_nothing()
