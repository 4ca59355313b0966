"""The contract that every engine fulfils, as a test suite. Needs pytest.

    from testgrove.testing import EngineContract

    class TestMine(EngineContract):
        name = "mine"

        def write(self, access): ...        # leave something in a database
        def is_empty(self, access): ...     # whether a database is as it was made

It starts real servers, and takes them away again.
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest

from testgrove.app.launcher import SupervisedLauncher
from testgrove.core.engines.declaration import Engine
from testgrove.core.engines.fixtures import described_fixtures
from testgrove.core.engines.registry import engine_of, implementation_of
from testgrove.core.model import DatabaseAccess, Lease, LeaseKind
from testgrove.core.server_url import parse_server_url
from testgrove.core.settings.types import Service
from testgrove.errors import PreconditionError
from testgrove.services.base import generate_password
from testgrove.services.hosts.embedded import EmbeddedHost
from testgrove.services.keeper.service import PersistentProgram, PersistentService
from testgrove.services.provider import Context, DatabaseRequest, Provider, TemplateSpec
from testgrove.services.provisioning.choose import provider_of
from testgrove.system.locks import LockFile
from testgrove.system.processes.supervisor_pool import SupervisorPool

__all__ = ["EngineContract"]


@dataclass
class _Ports:
    """Free ports of this machine."""

    def start(self, name: str, start: Callable[[int], Any]) -> Any:  # noqa: ARG002 - they are nobody's
        while True:
            try:
                return start(_free_port())
            except PreconditionError as error:
                if error.code != "port-taken":
                    raise

    def give_back(self, port: int) -> None:
        """Nothing."""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class _Leases:
    """Leases in memory (core.leases.Leases)."""

    owner: str = "a contract test"
    known: list[Lease] = field(default_factory=list)

    def record(self, *leases: Lease) -> None:
        self.known += leases

    def choose(self, kind: LeaseKind, choose: Any) -> tuple[Lease, ...]:
        chosen = tuple(choose(frozenset(lease.key for lease in self.known if lease.kind == kind)))
        self.known += chosen
        return chosen

    def forget(self, *leases: Lease) -> None:
        self.known = [lease for lease in self.known if lease not in leases]

    def all(self) -> tuple[Lease, ...]:
        return tuple(self.known)


class EngineContract:
    """A subclass sets `name`, and says how to write to a database and how to see that it is empty."""

    name: ClassVar[str]
    script: ClassVar[str] = "CREATE TABLE made (n INT)"  # a migration, of an engine that migrates

    def write(self, access: DatabaseAccess) -> None:
        """Leave something in a database that was handed out."""
        raise NotImplementedError

    def is_empty(self, access: DatabaseAccess) -> bool:
        """Return whether a database is as it was made. Raises where it does not answer."""
        raise NotImplementedError

    @pytest.fixture
    def engine(self) -> Engine:
        """Its declaration."""
        return engine_of(self.name)

    @pytest.fixture
    def context(self, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Context]:
        """Return the context of a run."""
        folder = tmp_path_factory.mktemp("t")
        supervisors = SupervisorPool(on_start=lambda _mark: None)
        launcher = SupervisedLauncher(supervisors, threading.Event())
        host = EmbeddedHost(launcher, ours=[folder], copies=folder / "copies")
        folders = {"cache": folder / "cache", "folder": folder / "run"}
        folders["folder"].mkdir()
        try:
            yield Context(
                launcher=launcher, locks=LockFile(folder / "locks"), project_id="contract", fresh=False, kind="run",
                leases=_Leases(), ports=_Ports(), host=host, **folders,
            )  # fmt: skip
        finally:
            supervisors.close()

    @pytest.fixture
    def service(self) -> Service:
        """A service's settings, all of them defaults."""
        return msgspec.convert({"engine": self.name}, engine_of(self.name).settings or Service)

    @pytest.fixture
    def provider(self, context: Context, service: Service) -> Iterator[Provider]:
        """Return the embedded provider."""
        provider = provider_of(context, self.name, service)
        provider.find()
        yield provider
        provider.close()

    def request(self, context: Context, number: int, template_spec: TemplateSpec | None = None) -> DatabaseRequest:
        """A request for one database."""
        name, file = f"contract_{number}", context.folder / f"contract-{number}"
        return DatabaseRequest(name, f"w{number}", "a test", context.leases, file, template_spec)

    def template_spec(self, provider: Provider) -> TemplateSpec | None:
        """A template on which nothing was migrated; None where there are none."""
        return TemplateSpec("0" * 32, lambda _access: None) if provider.traits() else None

    def test_its_declaration_is_whole(self, engine: Engine) -> None:
        assert engine.name == self.name
        assert engine.title
        assert engine.schemes
        assert engine.test_isolations
        assert implementation_of(self.name)
        assert engine.isolation == "file" or engine.port

    def test_its_fixtures_can_be_made(self, engine: Engine) -> None:
        parts = dict.fromkeys(("url", "name", "host", "port", "user", "password", "socket"), "")
        texts = [text for each in engine.fixtures for text in (each.value, *map(str, each.keywords.values()))]
        assert all(text.format(**parts) is not None for text in texts)
        described = described_fixtures([self.name])
        assert json.loads(json.dumps(described)) == described, "plain data: texts, lists and dicts with names"
        names = [each.name for each in engine.fixtures]
        assert len(set(names)) == len(names)
        assert all(name.isidentifier() and not name.startswith(("testgrove_", "_")) for name in names)

    def test_its_url_names_what_was_made(self, provider: Provider, context: Context, engine: Engine) -> None:
        held = provider.make(self.request(context, 1))
        url = held.access.url()
        assert url.startswith(tuple(f"{scheme}:" for scheme in engine.schemes))
        if secret := held.access.password.reveal():
            assert secret not in held.access.url(redacted=True)
        if engine.isolation != "file":
            assert parse_server_url(self.name, url).port == held.access.port
        assert engine.url_variable not in engine.variables(held.access) or engine.variables(held.access)
        held.drop()
        held.stop()

    def test_two_databases_do_not_meet(self, provider: Provider, context: Context) -> None:
        first, second = (provider.make(self.request(context, number)) for number in (1, 2))
        assert self.is_empty(first.access)
        self.write(first.access)
        assert not self.is_empty(first.access)
        assert self.is_empty(second.access)
        for held in (first, second):
            held.drop()
            held.stop()

    def test_tests_get_one_that_is_as_new(self, provider: Provider, engine: Engine) -> None:
        template_spec = self.template_spec(provider) or TemplateSpec("", lambda _access: None)
        allocator = provider.allocator(lambda: template_spec, "a test")
        assert allocator is not None
        allocation = allocator.open()
        try:
            for _ in range(3):
                access = allocation.get(engine.test_isolations[0])
                assert self.is_empty(access)
                self.write(access)
                if engine.isolation == "instance":
                    allocation.empty(access.name)
                    assert self.is_empty(access)
                allocation.put(access.name)
        finally:
            allocation.close()
            allocator.close()

    def test_an_instance_that_was_emptied_is_migrated(self, provider: Provider, engine: Engine) -> None:
        if engine.isolation != "instance" or not engine.migrates:
            pytest.skip("only for instances with migrations")
        implementation = implementation_of(self.name)
        spec = TemplateSpec("", lambda access: implementation.execute(self.script, access, timeout=10.0))
        allocator = provider.allocator(lambda: spec, "a test")
        assert allocator is not None
        allocation = allocator.open()
        try:
            access = allocation.get(engine.test_isolations[0])
            before = implementation.read_schema(access)
            assert not implementation.is_untouched(access)
            self.write(access)
            allocation.empty(access.name)
            assert implementation.read_schema(access) == before
        finally:
            allocation.close()
            allocator.close()

    def test_an_instance_outlives_a_command(self, engine: Engine, context: Context, service: Service) -> None:
        if engine.isolation != "instance":
            pytest.skip("only for engines that give each worktree an instance")
        implementation, folder = implementation_of(self.name), context.folder / "persistent"
        folder.mkdir()
        binary = implementation.find(context.launcher, service)
        port, password = _free_port(), generate_password()
        access = implementation.initialize_instance(folder, binary=binary, port=port, password=password, settings={})
        for moved in (port, _free_port()):
            if moved != port:
                implementation.move_instance(folder, moved)
            kept = PersistentService.read(folder)
            assert (kept.engine, kept.port) == (self.name, moved)
            process = context.host.start(PersistentProgram(kept, folder), directory=folder)
            there = DatabaseAccess(access.engine, access.name, access.host, moved, access.user, access.password)
            self.write(there)
            implementation.empty(there)
            assert self.is_empty(there)
            process.stop(signal=kept.stop_signal, timeout=10)

    def test_its_schema_is_read_and_its_rows_are_deleted(
        self, provider: Provider, context: Context, engine: Engine
    ) -> None:
        if not engine.migrates:
            pytest.skip("only for engines with migrations")
        implementation = implementation_of(self.name)
        held = provider.make(self.request(context, 1))
        access = held.access
        assert implementation.is_untouched(access)
        before = dict(implementation.read_schema(access))
        implementation.execute(self.script, access, timeout=10.0)
        assert not implementation.is_untouched(access)
        assert dict(implementation.read_schema(access)) != before
        implementation.delete_rows(access)
        held.drop()
        held.stop()

    def test_what_was_kept_can_be_read_again(
        self, provider: Provider, context: Context, engine: Engine, service: Service
    ) -> None:
        if not engine.dump:
            pytest.skip("only for engines whose databases can be kept")
        implementation = implementation_of(self.name)
        first, second = (provider.make(self.request(context, number)) for number in (1, 2))
        self.write(first.access)
        file = Path(context.folder) / engine.dump
        implementation.dump(first.access, file, context.launcher, service)
        implementation.load(file, second.access, context.launcher)
        assert not self.is_empty(second.access)
        for held in (first, second):
            held.drop()
            held.stop()
