"""What a pytest process has open at its exit."""

from __future__ import annotations

import pytest

CAREFUL = """
import asyncio, socket, subprocess, tempfile, threading

def test_closes_what_it_opens(tmp_path):
    with (tmp_path / "file").open("w") as file, socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        subprocess.run(["true"], check=True, stdout=subprocess.PIPE)
    thread = threading.Thread(target=print)
    thread.start()
    thread.join()
    asyncio.run(asyncio.sleep(0))

class Circle:
    def __init__(self, path):
        self.me, self.file = self, path.open("w")
    def __del__(self):
        self.file.close()

def test_forgets_what_it_opens(tmp_path):
    Circle(tmp_path / "file")
"""
CARELESS = """
import socket, threading

kept = []

def test_opens(tmp_path_factory):
    kept.append(open(__file__))
    listener = socket.create_server(("127.0.0.1", 0))
    client = socket.create_connection(listener.getsockname())
    kept.extend([listener, client, listener.accept()[0], socket.socketpair()])
    (tmp_path_factory.getbasetemp() / "port").write_text(str(listener.getsockname()[1]))
    thread = threading.Thread(target=threading.Event().wait, name="pump", daemon=True)
    thread.start()
"""


@pytest.mark.parametrize(
    "more",
    [
        (),
        ("-s", "-p", "no:logging"),
        ("--capture=sys", "--junitxml=j.xml"),
        ("--timeout=60", "--timeout-method=thread"),
    ],
)
def test_a_careful_suite_has_nothing_open(suite, more):
    result = suite.run(*more, test_a=CAREFUL)
    assert result.status == 0, result.output
    assert result.of("leftovers") == []


def test_what_a_careless_suite_has_open_is_named(suite):
    result = suite.run("--basetemp", str(suite.base / "t"), test_a=CARELESS)
    port = int((suite.base / "t" / "port").read_text())
    (found,) = result.of("leftovers")
    assert found["thread"] == ["pump (daemon)"]
    names = found["descriptor"]
    assert str(suite.tree / "test_a.py") in names
    assert f"socket 127.0.0.1:{port} listening" in names
    assert len([name for name in names if name.startswith("socket 127.0.0.1:") and "listening" not in name]) == 2
    assert names.count("socket pair") == 2
    assert result.status == 0, "it is no failure"
    assert [record["type"] for record in result.records][-1] == "finish"


@pytest.mark.slow
def test_xdist_workers_tell_of_themselves(suite):
    # Hypothesis's plugin imports all of it at the end, for longer than xdist waits where the machine is busy.
    options = ("-n2", "-p", "no:hypothesispytest", "--basetemp", str(suite.base / "t"))
    result = suite.run(*options, test_a=CAREFUL, test_b=CARELESS)
    assert [found["thread"] for found in result.of("leftovers")] == [["pump (daemon)"]], result.output
