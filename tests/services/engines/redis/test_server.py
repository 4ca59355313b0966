import socket
from dataclasses import replace
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from testgrove.errors import PreconditionError, UnavailableError, UsageError
from testgrove.services.base import generate_password
from testgrove.services.engines.redis.engine import REDIS
from testgrove.services.keeper.service import PersistentService

pytestmark = pytest.mark.redis
ONCE = Retry(NoBackoff(), 0)


@pytest.fixture
def start(require_redis, memory, launcher):
    """Start an instance in a folder of its own."""

    def start(port, name="one", **options):
        directory = memory / name
        directory.mkdir()
        options = {"launcher": launcher, "password": generate_password(), "settings": {}} | options
        return REDIS.start(require_redis, directory=directory, port=port, **options)

    return start


def test_an_instance_gives_its_one_database(start, port):
    access = start(port).create_database("testdb_unit_a", owner="test-unit-a")
    with redis.Redis.from_url(access.url()) as client:
        client.set("a", "1")
        assert client.get("a") == b"1"
    assert access.engine == "redis"
    assert access.url(redacted=True) == f"redis://127.0.0.1:{port}/0"


def test_instances_share_nothing(start, port, other_port):
    one = start(port).create_database("one", owner="x")
    other = start(other_port, "other").create_database("other", owner="x")
    with redis.Redis.from_url(one.url()) as first, redis.Redis.from_url(other.url()) as second:
        second.set("a", "1")
        first.flushall()
        assert second.get("a") == b"1"
        assert first.publish("news", "x") == 0


def test_a_second_worktree_is_refused(start, port):
    server = start(port)
    server.create_database("one", owner="x")
    with pytest.raises(PreconditionError, match="requires its own"):
        server.create_database("two", owner="test-unit-b")


def test_a_password_is_needed_and_stands_in_no_command_line(start, port, launcher):
    server = start(port)
    with redis.Redis(port=port, retry=ONCE) as client, pytest.raises(redis.AuthenticationError):
        client.ping()
    with redis.Redis(port=port, password="wrong", retry=ONCE) as client, pytest.raises(redis.AuthenticationError):
        client.ping()
    listed = Path(f"/proc/{launcher.started[-1].pid}/cmdline").read_text()
    assert "valkey" in listed or "redis" in listed
    assert server.endpoint.password.reveal() not in listed


def test_nothing_is_written_to_disk_and_the_socket_works(start, port, memory):
    access = start(port).create_database("one", owner="x")
    with redis.Redis(unix_socket_path=f"{access.socket_dir}/redis.sock", password=access.password.reveal()) as client:
        client.set("a", "1")
        assert client.config_get("save") == {"save": ""}
        assert client.config_get("appendonly") == {"appendonly": "no"}
        assert client.config_get("bind") == {"bind": "127.0.0.1"}
    assert sorted(path.name for path in (memory / "one").iterdir()) == ["redis.conf", "redis.sock", "server.log"]
    assert (memory / "one" / "redis.conf").stat().st_mode & 0o777 == 0o600


def test_stop_ends_it(start, port, launcher):
    server = start(port)
    server.stop()
    server.stop()
    assert launcher.end() == 0
    with redis.Redis(port=port, retry=ONCE) as client, pytest.raises(redis.ConnectionError):
        client.ping()


def test_a_taken_port_is_named(start, port, launcher):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        with pytest.raises(PreconditionError, match=str(port)) as caught:
            start(port)
    assert caught.value.code == "port-taken"
    assert launcher.end() == 0


def test_settings_of_the_project_count_except_for_ours(start, port, other_port):
    access = start(port, settings={"maxmemory": "64mb", "notify-keyspace-events": "KEA"}).create_database(
        "one", owner="x"
    )
    with redis.Redis.from_url(access.url()) as client:
        assert client.config_get("maxmemory") == {"maxmemory": str(64 * 1024**2)}
    for name, value in (("port", "1"), ("save", "900 1\nport 1"), ("Bad name", "1")):
        with pytest.raises(UsageError, match="cannot set the"):
            start(other_port, f"not-{name}", settings={name: value})


def test_a_setting_that_the_server_does_not_know_shows_its_log(start, port):
    with pytest.raises(UnavailableError, match="no-such-setting"):
        start(port, settings={"no-such-setting": "1"})


def test_a_long_path_is_refused(start, port):
    with pytest.raises(PreconditionError, match="the limit is 107"):
        start(port, "d" * 120)


def test_another_process_at_the_socket_is_not_ours(start, port, require_redis):
    from testgrove.services.engines.redis.server import RedisProgram

    server = start(port)
    service = PersistentService("one", require_redis.what, (), port, 15)
    program = RedisProgram(service, Path(server.endpoint.socket_dir), server.endpoint)
    with pytest.raises(UnavailableError, match=r"not 1$"):
        program.is_ready(1)
    wrong = replace(server.endpoint, password=generate_password())
    with pytest.raises(UnavailableError, match="WRONGPASS"):
        replace(program, endpoint=wrong).is_ready(1)


def test_a_password_is_not_needed_where_the_settings_say_so_and_ours_still_fits(start, port):
    access = start(port, settings={"requirepass": ""}).create_database("one", owner="x")
    with redis.Redis(port=port) as client, redis.Redis.from_url(access.url()) as ours:
        client.set("a", "1")
        assert ours.get("a") == b"1"


def test_another_password_is_refused(start, port):
    with pytest.raises(UsageError, match="testgrove sets it"):
        start(port, settings={"requirepass": "x"})


def test_a_persistent_one_has_no_socket(require_redis, tmp_path, port):
    REDIS.initialize_instance(tmp_path, binary=require_redis, port=port, password=generate_password(), settings={})
    assert PersistentService.read(tmp_path).argv == (str(require_redis.path), str(tmp_path / "redis.conf"))
    assert "unixsocket" not in (tmp_path / "redis.conf").read_text()
