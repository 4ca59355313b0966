"""A second user of the machine at the servers, files and processes of a worktree. None of it works.

The victim is root here, with servers under a keeper, an env file with passwords, and a teardown command.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from cli.test_ports import env_file
from grove import Grove, keepers, new_base, plant, said, uproot
from second_user import as_user, end, start_as, two_users
from services.launcher import LocalLauncher
from testgrove.errors import PreconditionError, TestgroveError
from testgrove.services.hosts.embedded import EmbeddedHost
from testgrove.services.keeper.client import KeeperClient
from testgrove.services.keeper.service import PersistentProgram, PersistentService

pytestmark = [pytest.mark.slow, pytest.mark.postgres, pytest.mark.redis]
CONFIG = """
teardown = ["sh ./teardown.sh"]
setup = ["true"]
[services.postgres]
[services.redis]
"""
FILES = {"README.md": "A project.\n", "teardown.sh": "echo torn down\n"}
_PTRACE_ATTACH = 16


@dataclass
class World:
    """A worktree of root's with servers, and a second user, who is told where everything is.

    passwords: of the worktree's databases, and the server's own; processes: the keeper and its servers.
    """

    grove: Grove
    attacker: int
    passwords: tuple[str, ...]
    processes: tuple[int, ...]
    services: list[Path]
    ports: list[int]
    sockets: list[Path]

    @property
    def tree(self) -> Path:
        return self.grove.root / "test-unit-a"


def services_of(grove: Grove) -> list[Path]:
    """The folders of the keeper's servers."""
    return sorted(path.parent for path in grove.servers_folder.glob("*/*/service.json"))


def ports_of(services: list[Path]) -> list[int]:
    return [PersistentService.read(folder).port for folder in services]


@pytest.fixture(scope="module")
def world(require_postgres, require_redis) -> Iterator[World]:
    _, attacker = two_users()
    base = new_base()
    grove = plant(base, files=FILES, config=CONFIG)
    grove.run("create", "--purpose", "test-unit", "--identifier", "a", "--branch", "main", "--ports")
    values = env_file(grove)
    keeper, services = keepers(base)[0], services_of(grove)
    access = next(json.loads((folder / "access.json").read_text()) for folder in services if "postgres" in folder.name)
    passwords = [urlsplit(values[name]).password for name in ("DATABASE_URL", "REDIS_URL")]
    yield World(
        grove=grove,
        attacker=attacker,
        passwords=tuple(filter(None, [*passwords, access["password"]])),
        processes=(keeper.pid, *(child.pid for child in keeper.children(recursive=True))),
        services=services,
        ports=ports_of(services),
        sockets=[path for path in grove.scratch.rglob("*") if path.is_socket()],
    )
    uproot(base)


def text_of(*paths: Path) -> str:
    """What can be read there."""
    found = []
    for path in paths:
        with suppress(OSError):
            found.append(path.read_bytes().decode(errors="replace"))
    return "\n".join(found)


def everything_in(*folders: Path) -> str:
    return "\n".join(
        text_of(Path(top, name)) for folder in folders for top, _, names in os.walk(folder) for name in names
    )


def read_everything(w: World) -> str:
    return everything_in(w.grove.base, Path("/dev/shm"))


def read_env_file(w: World) -> str:
    return text_of(w.tree / ".env.test", w.tree / ".worktree-metadata.json")


def read_the_store(w: World) -> str:
    return text_of(*(w.grove.state / name for name in ("state.db", "state.db-wal", "state.db-shm")))


def read_the_environment_of_processes(w: World) -> str:
    return text_of(*(Path(f"/proc/{pid}/{name}") for pid in w.processes for name in ("environ", "mem")))


def read_command_lines(_w: World) -> str:
    return text_of(*(path / "cmdline" for path in Path("/proc").glob("[0-9]*")))


def read_descriptors(w: World) -> str:
    found = []
    for pid in w.processes:
        with suppress(OSError):
            found += list(Path(f"/proc/{pid}/fd").iterdir())
    return text_of(*found)


def read_shared_memory(_w: World) -> str:
    return everything_in(Path("/dev/shm"))


def ask_postgres(w: World) -> str:
    """A start-up packet of the superuser's, and no password."""
    answers = []
    for port in w.ports:
        with suppress(OSError), closing(socket.create_connection(("127.0.0.1", port), 5)) as client:
            packet = b"\0\x03\0\0user\0postgres\0database\0postgres\0\0"
            client.sendall((len(packet) + 4).to_bytes(4, "big") + packet)
            client.settimeout(5)
            answers.append(client.recv(4096))
            client.sendall(b"p\0\0\0\x0bwrong!\0")
            answers.append(client.recv(4096))
    assert not any(b"\0\0\0\x08\0\0\0\0" in answer for answer in answers), "let in"
    return repr(answers)


def ask_redis(w: World) -> str:
    answers = []
    for port in w.ports:
        with suppress(OSError), closing(socket.create_connection(("127.0.0.1", port), 5)) as client:
            client.settimeout(5)
            client.sendall(b"CONFIG GET requirepass\r\n")
            answers.append(client.recv(4096))
    assert not any(answer.startswith(b"*2") for answer in answers), "let in"
    return repr(answers)


READERS = [
    read_everything, read_env_file, read_the_store, read_the_environment_of_processes, read_command_lines,
    read_descriptors, read_shared_memory, ask_postgres, ask_redis,
]  # fmt: skip


@pytest.mark.parametrize("trick", READERS, ids=lambda trick: trick.__name__)
def test_no_password_can_be_read(world: World, trick: Callable[[World], str]) -> None:
    seen = as_user(world.attacker, trick, world)
    assert len(world.passwords) == 3
    assert not [password for password in world.passwords if password in seen]


def connect_to_sockets(w: World) -> object:
    for path in w.sockets:
        socket.socket(socket.AF_UNIX).connect(str(path))
    return None


def replace_sockets(w: World) -> object:
    for path in w.sockets:
        path.unlink()
    return None


def kill_processes(w: World) -> object:
    for pid in w.processes:
        os.kill(pid, signal.SIGKILL)
    return None


def trace_the_keeper(w: World) -> object:
    library = ctypes.CDLL(None, use_errno=True)
    if library.ptrace(_PTRACE_ATTACH, w.processes[0], None, None) == -1:
        raise OSError(ctypes.get_errno(), "ptrace")
    return None


def exchange_the_state(w: World) -> object:
    return w.grove.state.rename(w.grove.base / "gone")


def exchange_the_scratch(w: World) -> object:
    return w.grove.scratch.rename(Path(f"/tmp/gone-{os.getuid()}"))


def exchange_what_is_in_memory(w: World) -> object:
    return w.grove.memory.rename("/dev/shm/gone")


def change_what_a_keeper_executes(w: World) -> object:
    return (w.services[0] / "service.json").write_text("{}")


def plant_a_service(w: World) -> object:
    return (w.services[0].parent / "own").mkdir()


def change_the_env_file(w: World) -> object:
    return (w.tree / ".env.test").write_text("DATABASE_URL=postgresql://elsewhere\n")


def change_the_teardown(w: World) -> object:
    return (w.tree / "teardown.sh").write_text("id > /tmp/owned\n")


def lock_the_holders(w: World) -> object:
    return (w.grove.state / "holders.lock").open("r+")


def plant_a_template(w: World) -> object:
    return (w.grove.cache / "templates" / "x.tar").touch()


def plant_a_plugin(w: World) -> object:
    return (w.grove.cache / "conftest.py").touch()


WRITERS = [
    connect_to_sockets, replace_sockets, kill_processes, trace_the_keeper, exchange_the_state, exchange_the_scratch,
    exchange_what_is_in_memory, change_what_a_keeper_executes, plant_a_service, change_the_env_file,
    change_the_teardown, lock_the_holders, plant_a_template, plant_a_plugin,
]  # fmt: skip


@pytest.mark.parametrize("trick", WRITERS, ids=lambda trick: trick.__name__)
def test_nothing_can_be_changed(world: World, trick: Callable[[World], object]) -> None:
    with pytest.raises(PermissionError):
        as_user(world.attacker, trick, world)
    assert psutil.pid_exists(world.processes[0])


# Servers that are not ours


class FakeServer:
    """Listens on ports, says what makes clients send a password, and keeps what they send."""

    def __init__(self, *ports: int) -> None:
        self.heard = b""
        self._listeners = [socket.create_server(("127.0.0.1", port)) for port in ports]
        for listener in self._listeners:
            threading.Thread(target=self._serve, args=(listener,), daemon=True).start()

    def _serve(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                with client, suppress(OSError):
                    client.settimeout(2)
                    self.heard += client.recv(4096)
                    client.sendall(b"R\0\0\0\x08\0\0\0\x03")  # PostgreSQL: the password, please, as it is
                    self.heard += client.recv(4096)

    def close(self) -> None:
        for listener in self._listeners:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()


def test_a_fake_server_on_the_ports_of_stopped_servers_hears_no_password(world: World) -> None:
    grove = world.grove
    grove.run("services", "stop")  # the keeper, too: nothing listens there now
    before = world.ports
    fake = FakeServer(*before)
    try:
        done = grove.run("exec", "test-unit-a", "--", "true")
        grove.run("db", "reset", "test-unit-a")
    finally:
        fake.close()
    assert fake.heard == b"", said(done)
    now = set(ports_of(world.services))
    assert not now & set(before)
    assert {urlsplit(env_file(grove)[name]).port for name in ("DATABASE_URL", "REDIS_URL")} == now


def test_an_answer_from_another_process_does_not_make_a_server_ready(world: World, tmp_path: Path) -> None:
    """It comes between the keeper's letting go of the port and the server's binding it."""
    fake = FakeServer(0)
    port = fake._listeners[0].getsockname()[1]
    service = PersistentService("slow", "a server", ("sleep", "60"), port, signal.SIGTERM)
    try:
        host = EmbeddedHost(LocalLauncher(), ours=(), copies=tmp_path)
        with pytest.raises(TestgroveError) as caught:
            host.start(PersistentProgram(service, tmp_path), directory=tmp_path, timeout=0.5)
        assert caught.value.code == "server-not-ready"
    finally:
        fake.close()


def serve_at(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        path.chmod(0o777)
        server.listen()
        while True:
            server.accept()


def test_a_keeper_of_another_user_is_not_spoken_to(world: World) -> None:
    folder = world.grove.base / "theirs"
    folder.mkdir()
    os.chown(folder, world.attacker, world.attacker)
    child = start_as(world.attacker, serve_at, folder / "keeper.sock")
    try:
        deadline = 200
        while not (folder / "keeper.sock").exists() and deadline:
            threading.Event().wait(0.02)
            deadline -= 1
        threading.Event().wait(0.1)
        with pytest.raises(TestgroveError) as caught:
            KeeperClient.connect(folder / "keeper.sock")
        assert caught.value.code == "keeper-foreign"
    finally:
        end(child)


def test_a_service_that_another_user_has_written_is_not_started(world: World, tmp_path: Path) -> None:
    PersistentService("own", "a server", ("true",), 1, signal.SIGTERM).write(tmp_path)
    assert PersistentService.read(tmp_path).name == "own"
    os.chown(tmp_path / "service.json", world.attacker, world.attacker)
    with pytest.raises(PreconditionError) as caught:
        PersistentService.read(tmp_path)
    assert caught.value.code == "not-ours"
