"""Databases of worktrees that outlive a command: on the project's own servers, which its keeper holds."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from testgrove.app.context import AppContext
from testgrove.app.databases.persistent_ports import start_on_a_free_port
from testgrove.app.databases.persistent_services import rewrite_env_files
from testgrove.app.keeper import KeeperLocation, keeper_of, location_of, new_location, project_owner
from testgrove.app.keeper_undo import keeper_lock
from testgrove.app.port_leases import lease_server_port
from testgrove.core.engines.registry import engine_of, implementation_of
from testgrove.core.leases import Leases
from testgrove.core.model import DatabaseAccess, Lease, LeaseKind
from testgrove.core.secret import Secret
from testgrove.core.settings.types import Service
from testgrove.services.base import generate_password
from testgrove.services.engines.protocols import PersistentServer
from testgrove.services.keeper.client import KeeperClient
from testgrove.services.provider import DatabaseRequest, Provider, ProvisionedDatabase, TemplateSpec, Traits
from testgrove.services.provisioning.instances import instance_traits
from testgrove.system.deletion import delete_tree
from testgrove.system.files import explained

_BUILD_TIMEOUT = 1800.0  # seconds that another command's migration may take


class PersistentProvider(Provider):
    """The provider of worktrees that outlive a command: a database on the project's server, or a server of their own.

    name: the service's. turn: shared by a command's providers, so that none of them waits for "another command".
    """

    def __init__(self, context: AppContext, name: str, service: Service, turn: threading.Lock) -> None:
        self._context, self._project, self._turn = context, context.project, turn
        self._name, self._service = name, service
        self._is_instance = engine_of(service.engine).isolation == "instance"
        self._engine: Any = implementation_of(service.engine)
        self._found: Any = None

    def find(self) -> None:
        """Implement Provider. Raises PreconditionError if no binaries are found."""
        if self._found is None:
            by = self._context.launcher if self._is_instance else self._context.host
            self._found = self._engine.find(by, self._service)

    def traits(self) -> Traits | None:
        """Implement Provider. A database without a migration needs no template."""
        if not self._service.migrate:
            return None
        if self._is_instance:
            return instance_traits(self._service.engine, self._found)
        found: Traits = self._found.traits()
        return found

    def make(self, request: DatabaseRequest) -> ProvisionedDatabase:
        """Implement Provider. Leases name what was made; nothing else drops it."""
        make = self._instance if self._is_instance else self._database
        with self._keeper(request) as (location, keeper):
            return ProvisionedDatabase(make(request, location, keeper, generate_password()))

    def _database(
        self, request: DatabaseRequest, location: KeeperLocation, keeper: KeeperClient, password: Secret
    ) -> DatabaseAccess:
        """One on the project's server of the service."""
        spec, extensions = request.template_spec, self._service.extensions
        server = self._server(location, keeper, spec)
        template = None
        if spec:
            template, note = server.template(spec.fingerprint, spec.build, extensions, fresh=self._context.fresh)
            if note:
                request.note(note)
        self._record(request, LeaseKind.PERSISTENT_DATABASE, f"{server.folder}#{request.name}", location, password)
        request.check()
        owner = f"worktree {request.label} of {self._project.main}"
        if template:
            return server.clone(template, request.name, owner=owner, password=password)
        return server.create_empty(request.name, owner=owner, extensions=extensions, password=password)

    def _instance(
        self, request: DatabaseRequest, location: KeeperLocation, keeper: KeeperClient, password: Secret
    ) -> DatabaseAccess:
        """A server of the worktree's own."""
        folder = location.folder / f"{self._name}-{request.label}"
        port = self._lease_port(request.leases, folder.name)
        self._record(request, LeaseKind.SERVICE, str(folder), location, password)
        with explained("create the folder", folder):
            folder.mkdir(mode=0o700)
        access: DatabaseAccess = self._engine.initialize_instance(
            folder, binary=self._found, port=port, password=password, settings=self._service.settings
        )
        access = replace(access, port=start_on_a_free_port(self._project, keeper, folder) or port)
        if request.template_spec:
            request.template_spec.build(access)
        return access

    def _record(
        self, request: DatabaseRequest, kind: LeaseKind, key: str, location: KeeperLocation, password: Secret
    ) -> None:
        data = location.data() | {"password": password.reveal(), "service": self._name}
        request.leases.record(Lease(kind, key, data))

    @contextmanager
    def _keeper(self, request: DatabaseRequest) -> Iterator[tuple[KeeperLocation, KeeperClient]]:
        """Hold the project's keeper exclusively: only one command at a time creates or removes its databases."""
        project, locks = self._project, self._context.locks
        what = "the project's servers, held by another command"
        with self._turn, locks.hold(keeper_lock(project.id), what=what, timeout=_BUILD_TIMEOUT, on_wait=request.say):
            location = location_of(project.store, project.id) or self._new_location()
            with keeper_of(location, locks, request.say) as keeper:
                yield location, keeper

    def _new_location(self) -> KeeperLocation:
        project = self._project
        closed = self._context.host.identity.user is not None
        location = new_location(project.locations, project.id, closed=closed)
        project.store.leases(project_owner(project.id)).record(location.lease())
        return location

    def _server(
        self, location: KeeperLocation, keeper: KeeperClient, template_spec: TemplateSpec | None
    ) -> PersistentServer:
        folder = location.folder / f"{self._name}-{self._found.major}"
        known: PersistentServer | None = self._engine.persistent(folder)
        server = known or self._new_server(folder, location, template_spec)
        with ThreadPoolExecutor(1, "prepare") as pool:
            prepared = pool.submit(self._engine.prepare)  # takes longer than the server
            moved = start_on_a_free_port(self._project, keeper, folder)
            prepared.result()
        if moved is None:
            return server
        rewrite_env_files(self._project, self._context.holder, folder)  # of other worktrees
        return server.at_port(moved)

    def _new_server(
        self, folder: Path, location: KeeperLocation, template_spec: TemplateSpec | None
    ) -> PersistentServer:
        project, context = self._project, self._context
        cache, run = context.cache / "templates", location.run
        templates = self._found.templates(cache, context.locks, run, fresh=context.fresh)
        template = (templates.find(template_spec.fingerprint) if template_spec else None) or templates.base()
        delete_tree(folder, within=location.folder)  # of a command that was killed here
        with explained("create the folder", folder):
            folder.mkdir(mode=0o700)
        port = self._lease_port(project.store.leases(project_owner(project.id)), folder.name)
        found: PersistentServer = self._found.initialize(folder, run, template, port)
        return found

    def _lease_port(self, leases: Leases, name: str) -> int:
        for lease in leases.all():
            if lease.kind == LeaseKind.PORTS and lease.data["name"] == name:
                return int(lease.data["port"])  # of a command that was killed here
        return lease_server_port(self._project, leases, name)
