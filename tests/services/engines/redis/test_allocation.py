"""A Redis for each client of a broker: as new between tests, whatever they did, at the same address."""

from __future__ import annotations

import threading
from contextlib import suppress
from types import SimpleNamespace

import pytest
import redis

from services.cases import until
from services.conftest import free_port
from testgrove.core.settings.types import Service
from testgrove.errors import ExhaustedError, PreconditionError, UnavailableError
from testgrove.services.engines.redis.engine import REDIS
from testgrove.services.provisioning.instances import InstanceAllocation, InstanceProvider

pytestmark = pytest.mark.redis


class Provider(InstanceProvider):
    """Starts instances on free ports; counts how often, and the ports that were given back."""

    def __init__(self, folder, launcher):
        self.started = self.freed = 0
        self.servers = []
        context = SimpleNamespace(launcher=launcher, folder=folder, ports=self)
        super().__init__(REDIS, context, "redis", Service(engine="redis"))

    def start_at(self, password, port):
        self.started += 1
        self.servers.append(super().start_at(password, port))
        return self.servers[-1]

    def start(self, password):
        port = free_port()
        return self.start_at(password, port)

    def give_back(self, _port):
        self.freed += 1


@pytest.fixture
def provider(require_redis, launcher, memory):
    provider = Provider(memory, launcher)
    provider.find()
    return provider


@pytest.fixture
def allocation(provider):
    allocation = InstanceAllocation(provider, lambda _instance: None, lambda _access: None)
    yield allocation
    allocation.close()


def connected(access, **options):
    return redis.Redis.from_url(access.url(), decode_responses=True, **options)


LEAVES = {
    "a key": "SET a 1",
    "a key elsewhere": ["SELECT 3", "SET a 1"],
    "a script": "SCRIPT LOAD return",
    "a setting": "CONFIG SET maxmemory 1000000",
    "a password": "CONFIG SET requirepass other",
    "a user": "ACL SETUSER mallory on nopass +@all",
    "no end": "SHUTDOWN NOSAVE",
    "a replica": "REPLICAOF 127.0.0.1 1",
    "a pause": "CLIENT PAUSE 60000 WRITE",
}


@pytest.mark.parametrize("what", LEAVES)
def test_the_next_test_meets_nothing_of_the_one_before(allocation, provider, what):
    access = allocation.get("reset")
    for _ in range(2):
        with connected(access, single_connection_client=True) as client:
            commands = LEAVES[what] if isinstance(LEAVES[what], list) else [LEAVES[what]]
            for command in commands:
                with suppress(redis.ConnectionError):
                    client.execute_command(*command.split())
        allocation.empty(access.name)
        with connected(access) as client:
            assert client.info("keyspace") == {}
            assert client.config_get("maxmemory") == {"maxmemory": "0"}
            assert client.acl_users() == ["default"]
            assert client.script_exists("e0e1f9fabfc9d4800c877a703b823ac0578ff8db") == [False]
            assert client.set("fresh", 1)
    assert provider.started == (3 if what in ("a setting", "a password", "a user", "no end", "a replica") else 1)


def test_who_waits_is_ended_and_an_open_connection_goes_on(allocation):
    access = allocation.get("reset")
    idle, blocked, subscribed = (connected(access) for _ in range(3))
    idle.ping()
    news = subscribed.pubsub()
    news.subscribe("news")
    assert news.get_message(timeout=10)
    taken = []

    def take():
        with suppress(redis.ConnectionError):
            taken.append(blocked.execute_command("BLPOP", "queue", 0))

    thread = threading.Thread(target=take)
    thread.start()
    until(lambda: idle.info("clients")["blocked_clients"] == 1)
    allocation.empty(access.name)
    assert idle.rpush("queue", "mine") == 1
    assert idle.publish("news", "x") == 0
    thread.join(10)
    assert taken in ([], [("queue", "mine")])  # the driver may try again, as it does for anybody
    for client in (idle, blocked, subscribed):
        client.close()


def test_an_allocation_that_is_closed_leaves_nothing(allocation, provider):
    access, other = allocation.get("reset"), allocation.get("reset")
    assert access.name != other.name
    allocation.put(access.name)
    with pytest.raises(redis.ConnectionError):
        connected(access).ping()
    with pytest.raises(PreconditionError, match="holds no database"):
        allocation.empty(access.name)
    allocation.close()
    allocation.close()
    with pytest.raises(redis.ConnectionError):
        connected(other).ping()
    assert provider.freed == 2
    with pytest.raises(UnavailableError, match="closed"):
        allocation.get("reset")


def test_a_kept_one_stays(allocation, provider, monkeypatch):
    monkeypatch.setattr("testgrove.services.provisioning.instances._MAX_KEPT", 1)
    access, other = allocation.get("reset"), allocation.get("reset")
    connected(access).set("a", 1)
    allocation.keep(access.name)
    with pytest.raises(ExhaustedError):
        allocation.keep(other.name)
    allocation.close()
    assert connected(access).get("a") == "1"
    for server in provider.servers:
        server.stop()


def test_a_place_in_which_nothing_starts_is_free_again(allocation, provider, monkeypatch):
    monkeypatch.setattr("testgrove.services.engines.redis.reset._STATE", ("SHUTDOWN NOSAVE",))
    with pytest.raises(UnavailableError, match="does not answer"):
        allocation.get("reset")
    assert provider.freed == 1
