"""Databases of worktrees that outlive a command: on the project's own servers, which its keeper holds."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

from testgrove.app.context import worktree_context
from testgrove.app.databases.creation import DatabaseCreation, Make
from testgrove.app.databases.maker import name_of
from testgrove.app.databases.migration import migration, template_spec_in
from testgrove.app.databases.persistent_ports import start_on_a_free_port
from testgrove.app.databases.persistent_services import rewrite_env_files
from testgrove.app.holder import Holder
from testgrove.app.keeper import KeeperLocation, keeper_of, location_of, new_location, project_owner
from testgrove.app.keeper_undo import keeper_lock
from testgrove.app.port_leases import lease_server_port
from testgrove.app.project import Project
from testgrove.app.worktrees import records
from testgrove.app.worktrees.workspace import Workspace
from testgrove.core.engines.registry import engine_of, implementation_of
from testgrove.core.migrations.command import migration_to
from testgrove.core.model import DatabaseAccess, Lease, LeaseKind
from testgrove.core.settings.types import Service
from testgrove.services.base import generate_password
from testgrove.services.engines.protocols import PersistentServer
from testgrove.services.keeper.client import KeeperClient
from testgrove.services.provider import TemplateSpec
from testgrove.system.deletion import delete_tree
from testgrove.system.files import explained
from testgrove.system.store import StoredLeases

_BUILD_TIMEOUT = 1800.0  # seconds that another command's migration may take


class PersistentDatabases:
    """Makes the databases of a worktree from `create`.

    services: those of which databases are made. revisions: the migration to stop at, by service; empty: no migration at
    all.
    """

    def __init__(
        self,
        project: Project,
        holder: Holder,
        services: Mapping[str, Service],
        *,
        revisions: Mapping[str, str] | None = None,
        empty: bool = False,
    ) -> None:
        self._project, self._holder, self._services = project, holder, services
        self._revisions, self._empty = revisions or {}, empty
        self._mutex = threading.Lock()  # our own services do not wait for "another command"
        self._context = worktree_context(project, holder)

    def making(self) -> DatabaseCreation:
        """Return the maker of the databases."""
        return DatabaseCreation(tuple(self._services), self._begin)

    def _begin(self, workspace: Workspace, making: DatabaseCreation) -> dict[str, Make]:
        makers: dict[str, Make] = {}
        for name, service in self._services.items():
            implementation = implementation_of(service.engine)
            binaries = implementation.find(self._context.launcher, service)
            if engine_of(service.engine).isolation == "instance":
                makers[name] = partial(self._instance, name, service, binaries, workspace, making)
                continue
            template_spec = None
            if service.migrate and not self._empty and name not in self._revisions:
                traits = implementation.traits(binaries, service)
                template_spec = template_spec_in(workspace, name, service, traits, self._context.launcher, making)
            makers[name] = partial(self._database, name, service, binaries, template_spec, workspace, making)
        return makers

    def _database(
        self,
        name: str,
        service: Service,
        binaries: Any,
        template_spec: TemplateSpec | None,
        workspace: Workspace,
        making: DatabaseCreation,
    ) -> DatabaseAccess:
        """One on the project's server of the service."""
        database, password = name_of(workspace, name, service), generate_password()
        owner = f"worktree {workspace.spec.id} of {self._project.main}"
        with self._keeper(making) as (location, keeper):
            server = self._server(location, keeper, name, service, binaries, template_spec)
            template = None
            if template_spec:
                template, note = server.template(
                    template_spec.fingerprint,
                    template_spec.build,
                    service.extensions,
                    fresh=self._project.fresh_templates,
                )
                workspace.notes += [note] if note else []
            data = location.data() | {"password": password.reveal(), "service": name}
            lease = Lease(LeaseKind.PERSISTENT_DATABASE, f"{server.folder}#{database}", data)
            records.worktree_leases(self._project, workspace.spec.id).record(lease)
            making.check()
            if template:
                return server.clone(template, database, owner=owner, password=password)
            access = server.create_empty(database, owner=owner, extensions=service.extensions, password=password)
        if name in self._revisions:
            command = migration_to(name, service, self._revisions[name])
            migration(command, name, self._context.launcher, workspace, making)(access)
        return access

    def _instance(
        self, name: str, service: Service, binary: Any, workspace: Workspace, making: DatabaseCreation
    ) -> DatabaseAccess:
        """A server of the worktree's own."""
        leases = records.worktree_leases(self._project, workspace.spec.id)
        with self._keeper(making) as (location, keeper):
            folder = location.folder / f"{name}-{workspace.spec.id}"
            port, password = self._lease_port(leases, folder.name), generate_password()
            data = location.data() | {"password": password.reveal(), "service": name}
            leases.record(Lease(LeaseKind.SERVICE, str(folder), data))
            with explained("create the folder", folder):
                folder.mkdir(mode=0o700)
            access: DatabaseAccess = implementation_of(service.engine).initialize_instance(
                folder, binary=binary, port=port, password=password, settings=service.settings
            )
            port = start_on_a_free_port(self._project, keeper, folder) or port
        return replace(access, port=port)

    @contextmanager
    def _keeper(self, making: DatabaseCreation) -> Iterator[tuple[KeeperLocation, KeeperClient]]:
        """Hold the project's keeper exclusively: only one command at a time creates or removes its databases."""
        project, locks = self._project, self._holder.locks
        what = "the project's servers, held by another command"
        with self._mutex, locks.hold(keeper_lock(project.id), what=what, timeout=_BUILD_TIMEOUT, on_wait=making.say):
            location = location_of(project.store, project.id) or self._new_location()
            with keeper_of(location, locks, making.say) as keeper:
                yield location, keeper

    def _new_location(self) -> KeeperLocation:
        project = self._project
        closed = self._context.host.identity.user is not None
        location = new_location(project.locations, project.id, closed=closed)
        project.store.leases(project_owner(project.id)).record(location.lease())
        return location

    def _server(
        self,
        location: KeeperLocation,
        keeper: KeeperClient,
        name: str,
        service: Service,
        binaries: Any,
        template_spec: TemplateSpec | None,
    ) -> PersistentServer:
        implementation = implementation_of(service.engine)
        folder = location.folder / f"{name}-{binaries.major}"
        known: PersistentServer | None = implementation.persistent(folder)
        server = known or self._new_server(folder, location, service, binaries, template_spec)
        with ThreadPoolExecutor(1, "prepare") as pool:
            prepared = pool.submit(implementation.prepare)  # takes longer than the server
            moved = start_on_a_free_port(self._project, keeper, folder)
            prepared.result()
        if moved is None:
            return server
        rewrite_env_files(self._project, self._holder, folder)  # of other worktrees
        return server.at_port(moved)

    def _new_server(
        self, folder: Any, location: KeeperLocation, service: Service, binaries: Any, template_spec: TemplateSpec | None
    ) -> PersistentServer:
        project, context, implementation = self._project, self._context, implementation_of(service.engine)
        templates = implementation.templates(
            binaries,
            service,
            directory=context.cache / "templates",
            locks=context.locks,
            host=context.host,
            work=location.run,
            fresh=project.fresh_templates,
        )
        template = (templates.find(template_spec.fingerprint) if template_spec else None) or templates.base()
        delete_tree(folder, within=location.folder)  # of a command that was killed here
        with explained("create the folder", folder):
            folder.mkdir(mode=0o700)
        found: PersistentServer = implementation.initialize(
            folder,
            location.run,
            template=template,
            binaries=binaries,
            service=service,
            host=context.host,
            port=self._lease_port(project.store.leases(project_owner(project.id)), folder.name),
        )
        return found

    def _lease_port(self, leases: StoredLeases, name: str) -> int:
        for lease in leases.all():
            if lease.kind == LeaseKind.PORTS and lease.data["name"] == name:
                return int(lease.data["port"])  # of a command that was killed here
        return lease_server_port(self._project, leases, name)
