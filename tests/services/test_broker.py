"""The broker's protocol: requests and answers, whoever the client is; what a client held goes back when it has left."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest

from pytest_testgrove.broker import BrokerError, BrokerLostError, Client
from services.cases import until
from testgrove.core.model import DatabaseAccess
from testgrove.core.secret import Secret
from testgrove.core.settings.types import Service, Settings
from testgrove.errors import ExhaustedError, PreconditionError
from testgrove.services.allocation import Allocation
from testgrove.services.broker import Broker

PERL = r"""
use IO::Socket::UNIX; use IO::Handle;
my $broker = IO::Socket::UNIX->new(Peer => $ARGV[0]) or die "no broker: $!";
sub ask { print $broker "$_[0]\n"; $broker->flush; my $line = <$broker>; print $line; return $line; }
ask('{"do": "hello"}');
ask('{"do": "get", "engine": "postgres"}') =~ /"name": "([^"]+)"/ or die;
ask(qq({"do": "put", "name": "$1"}));
ask('{"do": "get", "engine": "postgres", "isolation": "reset"}');
"""


class Rooms:
    """A stand-in for a pool: says what it was asked."""

    def __init__(self):
        self.open = self.given = 0
        self.room = 3
        self.said: list[str] = []
        self.gate = threading.Event()
        self.gate.set()

    def allocation(self):
        rooms, self.open = self, self.open + 1

        class Held(Allocation):
            closed = False

            def get(self, isolation):
                rooms.said.append(f"get {isolation}")
                rooms.gate.wait(10)
                if rooms.given == rooms.room:
                    raise ExhaustedError("pool-full", "there is no room", hint="df -h")
                rooms.given += 1
                name = f"room{rooms.given}"
                return DatabaseAccess("postgres", name, "127.0.0.1", 5432, "me", Secret("pw"))

            def put(self, name):
                rooms.said.append(f"put {name}")

            def keep(self, name):
                rooms.said.append(f"keep {name}")

            def close(self):
                if not self.closed:
                    self.closed = True
                    rooms.open -= 1

        return Held()


@pytest.fixture
def rooms():
    return Rooms()


@pytest.fixture
def path(short_tmp):
    return short_tmp / "broker.sock"


@pytest.fixture
def broker(rooms, path):
    broker = Broker(path, {"postgres": rooms.allocation})
    yield broker
    rooms.gate.set()
    broker.close()


@pytest.fixture
def connect(broker, path):
    clients = []

    def make():
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(10)
        client.connect(str(path))
        clients.append(client)
        return client

    yield make
    for client in clients:
        client.close()


def ask(client, request):
    client.sendall((request if isinstance(request, bytes) else json.dumps(request).encode()) + b"\n")
    answer = b""
    while not answer.endswith(b"\n"):
        data = client.recv(4096)
        assert data, "the broker has hung up"
        answer += data
    return json.loads(answer)


GET = {"do": "get", "engine": "postgres"}


def test_a_database_is_handed_out_and_taken_back(rooms, connect):
    client = connect()
    assert ask(client, {"do": "hello"}) == {"ok": {"protocol": 1, "engines": ["postgres"]}}
    found = ask(client, GET)["ok"]
    assert found["url"] == "postgresql://me:pw@127.0.0.1:5432/room1"
    assert {key: found[key] for key in ("engine", "isolation", "name", "host", "port", "user", "password")} == {
        "engine": "postgres", "isolation": "clone", "name": "room1",
        "host": "127.0.0.1", "port": 5432, "user": "me", "password": "pw",
    }  # fmt: skip
    assert ask(client, {"do": "put", "name": "room1"}) == {"ok": {}}
    assert ask(client, {**GET, "isolation": "reset"})["ok"]["name"] == "room2"
    assert ask(client, {"do": "keep", "name": "room2"}) == {"ok": {}}
    assert rooms.said == ["get clone", "put room1", "get reset", "keep room2"]


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (b"no JSON", "bad-request"),
        (b"[]", "bad-request"),
        (b"\xff\xfe", "bad-request"),
        (b"[" * 60_000, "bad-request"),
        ({"do": "dance"}, "bad-request"),
        ({}, "bad-request"),
        ({"do": "get"}, "unknown-engine"),
        ({"do": "get", "engine": "oracle"}, "unknown-engine"),
        ({"do": "get", "engine": ["postgres"]}, "unknown-engine"),
        ({**GET, "isolation": "total"}, "unknown-isolation"),
        ({"do": "put", "name": "room7"}, "not-leased"),
        ({"do": "put"}, "not-leased"),
        ({"do": "keep", "name": {}}, "not-leased"),
    ],
)
def test_a_bad_request_is_an_answer_and_the_next_one_is_served(connect, request_, code):
    client = connect()
    assert ask(client, request_)["error"]["code"] == code
    assert "ok" in ask(client, GET)


def test_what_the_pool_says_reaches_the_client(connect):
    client = connect()
    for _ in range(3):
        ask(client, GET)
    assert ask(client, GET) == {"error": {"code": "pool-full", "message": "there is no room", "hint": "df -h"}}


def test_a_bug_is_an_answer_too(rooms, connect):
    client, gate = connect(), rooms.gate
    rooms.gate = None
    found = ask(client, GET)["error"]
    assert (found["code"], "has no attribute 'wait'" in found["message"]) == ("bug", True)
    rooms.gate = gate
    assert "ok" in ask(client, GET)


def test_a_client_cannot_give_back_what_another_holds(connect):
    one, other = connect(), connect()
    name = ask(one, GET)["ok"]["name"]
    assert ask(other, {"do": "put", "name": name})["error"]["code"] == "not-leased"


def test_a_client_that_has_left_holds_nothing(rooms, connect):
    client, stays = connect(), connect()
    ask(client, GET), ask(stays, GET)
    assert rooms.open == 2
    client.close()
    until(lambda: rooms.open == 1)


def test_a_client_that_leaves_in_the_middle_of_a_line_does_no_harm(rooms, connect):
    client = connect()
    ask(client, GET)
    client.sendall(b'{"do": "ge')
    client.close()
    until(lambda: rooms.open == 0)
    assert "ok" in ask(connect(), GET)


def test_a_request_without_an_end_is_refused(connect):
    client = connect()
    answer = ask(client, b"x" * 65535)  # and the newline
    assert answer["error"]["code"] == "bad-request"
    assert client.recv(1) == b""


def test_clients_do_not_wait_for_one_another(rooms, connect):
    slow, quick = connect(), connect()
    rooms.gate.clear()
    slow.sendall(json.dumps(GET).encode() + b"\n")
    until(lambda: rooms.said)
    assert "ok" in ask(quick, {"do": "hello"})
    rooms.gate.set()


def test_a_broker_that_closes_hangs_up_and_leaves_no_socket(rooms, broker, connect, path):
    client = connect()
    ask(client, GET)
    broker.close()
    assert client.recv(1) == b""
    assert rooms.open == 0
    assert not path.exists()


def test_what_is_asked_for_ahead_is_the_answer_later_and_a_failure_is_not(rooms, broker, path):
    client = Client.connect(str(path))
    wanted = {"engine": "postgres", "isolation": "clone"}
    rooms.gate.clear()
    client.ask_ahead("get", **wanted)
    client.tell("put", name="room1")
    assert client.is_ahead("get", **wanted)
    rooms.gate.set()
    assert client.ask("get", engine="postgres", isolation="reset")["name"] == "room2"
    assert client.ask("get", **wanted)["name"] == "room1"
    assert not client.is_ahead("get", **wanted)
    assert client.ask("get", **wanted)["name"] == "room3"
    client.ask_ahead("get", **wanted)
    assert client.ask("hello")["protocol"] == 1
    rooms.room = 4
    assert client.ask("get", **wanted)["name"] == "room4"
    client.ask_ahead("get", **wanted)
    with pytest.raises(BrokerError, match="no room"):
        client.ask("get", **wanted)
    client.close()


@pytest.mark.parametrize("send", ["tell", "ask_ahead", "ask"])
def test_a_client_that_is_interrupted_while_it_sends_asks_nothing_more(rooms, broker, path, send):
    client = Client.connect(str(path))

    class Interrupted:
        """The moment after the kernel has taken the request, which no signal can be made to hit."""

        def __init__(self, connection):
            self.sendall, self.close = self.send, connection.close
            self.connection = connection

        def send(self, data):
            self.connection.sendall(data)
            raise KeyboardInterrupt

    client._connection = Interrupted(client._connection)
    with pytest.raises(KeyboardInterrupt):
        getattr(client, send)("get", engine="postgres")
    with pytest.raises(BrokerLostError):
        client.ask("hello")
    until(lambda: not rooms.open)


AHEAD = """
import pytest

@pytest.fixture
def skips():
    pytest.skip("here")

def test_one(database):
    pass

def test_skipped(skips, database):
    pass

@pytest.mark.testgrove_database("reset")
def test_reset(database):
    assert database.isolation == "reset"

def test_without():
    pass

def test_last(database):
    assert database.name == "room4"
"""


def test_the_plugin_asks_ahead_for_who_comes_next_and_gives_back_what_nobody_took(rooms, broker, path, tmp_path):
    rooms.room = 10
    (tmp_path / "test_ahead.py").write_text(AHEAD)
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "test_ahead.py"]
    env = {**os.environ, "TESTGROVE_BROKER": str(path)}
    done = subprocess.run(words, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert "4 passed, 1 skipped" in done.stdout, done.stdout + done.stderr
    until(lambda: not rooms.open)
    first, rest = rooms.said[:4], rooms.said[4:]
    assert first == ["get clone", "put room1", "get clone", "put room2"]
    assert rest == ["get reset", "put room3", "get clone", "put room4"]


def test_a_client_that_is_interrupted_never_takes_one_answer_for_another(rooms, broker, path):
    """As by Ctrl-C or pytest-timeout, in the plugin's own client."""

    class InterruptedTestError(BaseException):
        pass

    def interrupt(*_):
        raise InterruptedTestError

    def in_its_time():
        until(lambda: rooms.said)
        os.kill(os.getpid(), signal.SIGUSR1)

    client = Client.connect(str(path))
    rooms.gate.clear()
    before = signal.signal(signal.SIGUSR1, interrupt)
    thread = threading.Thread(target=in_its_time)
    try:
        thread.start()
        with pytest.raises(InterruptedTestError):
            client.ask("get", engine="postgres")
    finally:
        thread.join()
        signal.signal(signal.SIGUSR1, before)
        rooms.gate.set()
    with pytest.raises(BrokerLostError):
        client.ask("hello")
    until(lambda: not rooms.open)


def test_a_broker_that_has_no_descriptor_left_lets_clients_in_when_it_has(broker, path):
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    with socket.socket(socket.AF_UNIX) as first, socket.socket(socket.AF_UNIX) as waiting:
        free = os.dup(0)
        os.close(free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (free, before[1]))
        try:
            first.connect(str(path))  # has the descriptor that the kernel took before it began to wait
            waiting.connect(str(path))
            waiting.sendall(b'{"do": "hello"}\n')
            waiting.settimeout(0.3)
            with pytest.raises(TimeoutError):
                waiting.recv(1000)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
        waiting.settimeout(30)
        assert b"protocol" in waiting.recv(1000)


def test_only_its_user_can_reach_the_socket(broker, path):
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_path_that_is_too_long_for_a_socket_is_said(tmp_path, rooms):
    with pytest.raises(PreconditionError, match="107"):
        Broker(tmp_path / ("x" * 120), {"postgres": rooms.allocation})


def test_a_client_in_perl(rooms, broker, path):
    perl = shutil.which("perl") or pytest.skip("there is no perl")
    done = subprocess.run([perl, "-e", PERL, path], capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 0, done.stderr
    hello, got, put, again = map(json.loads, done.stdout.splitlines())
    assert hello["ok"]["protocol"] == 1
    assert (got["ok"]["name"], put, again["ok"]["isolation"]) == ("room1", {"ok": {}}, "reset")
    until(lambda: rooms.open == 0)


@pytest.fixture
def migrations(short_tmp):
    """A broker whose databases are SQLite files that their client migrates."""
    from testgrove.app.providers.empty_databases import EmptyDatabases
    from testgrove.core.migrations.sql_files import SqlFiles
    from testgrove.services.engines.sqlite.engine import SQLITE
    from testgrove.services.migrations.allocation import MigrationAllocation
    from testgrove.services.migrations.migrator import Migrator
    from testgrove.services.provisioning.files import FileProvider

    files = [
        ("1_a.up.sql", b"CREATE TABLE a (n INT);"),
        ("1_a.down.sql", b"DROP TABLE a;"),
        ("2_b.up.sql", b"what"),
    ]
    migrator = Migrator(None, short_tmp, lambda _: {}, Settings())  # SQL files need no process
    context = SimpleNamespace(
        cache=short_tmp, locks=None, fresh=False, folder=short_tmp, leases=SimpleNamespace(owner="")
    )
    empty = EmptyDatabases(context, FileProvider(SQLITE, context, "sqlite", Service(engine="sqlite")))
    path = short_tmp / "broker.sock"
    broker = Broker(path, {"sqlite-migrations": lambda: MigrationAllocation(empty, SqlFiles.of(files), migrator)})
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        yield client
    broker.close()
    assert list(short_tmp.glob("*.sqlite3")) == []


def test_migrations_go_forward_and_back_as_their_client_says(migrations):
    found = ask(migrations, {"do": "get", "engine": "sqlite-migrations"})["ok"]
    assert (found["engine"], found["isolation"]) == ("sqlite", "empty")
    about = {"name": found["name"]}
    assert ask(migrations, about | {"do": "revisions"}) == {"ok": {"revisions": ["1_a", "2_b"], "conflicts": ""}}
    assert ask(migrations, about | {"do": "schema"}) == {"ok": {"schema": {}}}
    assert ask(migrations, about | {"do": "migrate", "way": "up", "revision": "1"}) == {"ok": {}}
    assert ask(migrations, about | {"do": "schema"}) == {"ok": {"schema": {"table a": "", "column a.n": "INT"}}}
    failed = ask(migrations, about | {"do": "migrate", "way": "up", "revision": "head"})["error"]
    assert failed["code"] == "migration-failed"
    assert "2_b.up.sql failed" in failed["message"]
    back = about | {"do": "migrate", "way": "down", "revision": "base", "keep_data": False}
    assert ask(migrations, back) == {"ok": {}}
    assert ask(migrations, about | {"do": "schema"}) == {"ok": {"schema": {}}}
    assert ask(migrations, about | {"do": "put"}) == {"ok": {}}
    assert ask(migrations, about | {"do": "schema"})["error"]["code"] == "not-leased"


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        ({"way": "sideways", "revision": "1"}, "bad-request"),
        ({"way": "up"}, "bad-request"),
        ({"revision": "1"}, "bad-request"),
        ({"way": "up", "revision": "1", "keep_data": "no"}, "bad-request"),
        ({"way": "up", "revision": "7"}, "unknown-revision"),
    ],
)
def test_what_a_migration_cannot_be_asked(migrations, request_, code):
    name = ask(migrations, {"do": "get", "engine": "sqlite-migrations"})["ok"]["name"]
    assert ask(migrations, {"do": "migrate", "name": name, **request_})["error"]["code"] == code


def test_databases_that_are_migrated_already_are_not_migrated(connect):
    client = connect()
    name = ask(client, {"do": "get", "engine": "postgres"})["ok"]["name"]
    for do in ("migrate", "schema", "revisions"):
        assert ask(client, {"do": do, "name": name})["error"]["code"] == "bad-request"
