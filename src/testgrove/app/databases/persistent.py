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
from testgrove.app.databases.cell import CellDatabases, Make
from testgrove.app.databases.maker import name_of
from testgrove.app.databases.migration import migration, wanted_in
from testgrove.app.databases.persistent_ports import start_on_a_free_port
from testgrove.app.databases.persistent_services import rewrite_env_files
from testgrove.app.holder import Holder
from testgrove.app.keeper import KeeperLocation, keeper_of, location_of, new_location, project_owner
from testgrove.app.keeper_undo import kept_lock
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
from testgrove.services.provider import Wanted
from testgrove.system.deletion import delete_tree
from testgrove.system.files import explained
from testgrove.system.store import StoredLeases

_BUILD_TIMEOUT = 1800.0  # seconds that another command's migration may take


class KeptDatabases:
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

    def making(self) -> CellDatabases:
        """What makes the databases."""
        return CellDatabases(tuple(self._services), self._begin)

    def _begin(self, workspace: Workspace, making: CellDatabases) -> dict[str, Make]:
        makers: dict[str, Make] = {}
        for name, service in self._services.items():
            implementation = implementation_of(service.engine)
            binaries = implementation.find(self._context.launcher, service)
            if engine_of(service.engine).isolation == "instance":
                makers[name] = partial(self._instance, name, service, binaries, workspace, making)
                continue
            wanted = None
            if service.migrate and not self._empty and name not in self._revisions:
                traits = implementation.traits(binaries, service)
                wanted = wanted_in(workspace, name, service, traits, self._context.launcher, making)
            makers[name] = partial(self._database, name, service, binaries, wanted, workspace, making)
        return makers

    def _database(
        self,
        name: str,
        service: Service,
        binaries: Any,
        wanted: Wanted | None,
        workspace: Workspace,
        making: CellDatabases,
    ) -> DatabaseAccess:
        """One on the project's server of the service."""
        database, password = name_of(workspace, name, service), generate_password()
        owner = f"worktree {workspace.spec.id} of {self._project.main}"
        with self._keeper(making) as (place, keeper):
            server = self._server(place, keeper, name, service, binaries, wanted)
            template = None
            if wanted:
                template, note = server.template(
                    wanted.fingerprint, wanted.build, service.extensions, fresh=self._project.fresh_templates
                )
                workspace.notes += [note] if note else []
            data = place.data() | {"password": password.reveal(), "service": name}
            lease = Lease(LeaseKind.KEPT_DATABASE, f"{server.folder}#{database}", data)
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
        self, name: str, service: Service, binary: Any, workspace: Workspace, making: CellDatabases
    ) -> DatabaseAccess:
        """A server of the worktree's own."""
        leases = records.worktree_leases(self._project, workspace.spec.id)
        with self._keeper(making) as (place, keeper):
            folder = place.folder / f"{name}-{workspace.spec.id}"
            port, password = self._lease_port(leases, folder.name), generate_password()
            data = place.data() | {"password": password.reveal(), "service": name}
            leases.record(Lease(LeaseKind.SERVICE, str(folder), data))
            with explained("create the folder", folder):
                folder.mkdir(mode=0o700)
            access: DatabaseAccess = implementation_of(service.engine).lay_out_instance(
                folder, binary=binary, port=port, password=password, settings=service.settings
            )
            port = start_on_a_free_port(self._project, keeper, folder) or port
        return replace(access, port=port)

    @contextmanager
    def _keeper(self, making: CellDatabases) -> Iterator[tuple[KeeperLocation, KeeperClient]]:
        """Hold the project's keeper exclusively: only one command at a time creates or removes its databases."""
        project, locks = self._project, self._holder.locks
        what = "the project's servers, held by another command"
        with self._mutex, locks.hold(kept_lock(project.id), what=what, timeout=_BUILD_TIMEOUT, on_wait=making.say):
            place = location_of(project.store, project.id) or self._new_place()
            with keeper_of(place, locks, making.say) as keeper:
                yield place, keeper

    def _new_place(self) -> KeeperLocation:
        project = self._project
        closed = self._context.host.identity.user is not None
        place = new_location(project.locations, project.id, closed=closed)
        project.store.leases(project_owner(project.id)).record(place.lease())
        return place

    def _server(
        self,
        place: KeeperLocation,
        keeper: KeeperClient,
        name: str,
        service: Service,
        binaries: Any,
        wanted: Wanted | None,
    ) -> PersistentServer:
        implementation = implementation_of(service.engine)
        folder = place.folder / f"{name}-{binaries.major}"
        known: PersistentServer | None = implementation.persistent(folder)
        server = known or self._new_server(folder, place, service, binaries, wanted)
        with ThreadPoolExecutor(1, "prepare") as pool:
            prepared = pool.submit(implementation.prepare)  # takes longer than the server
            moved = start_on_a_free_port(self._project, keeper, folder)
            prepared.result()
        if moved is None:
            return server
        rewrite_env_files(self._project, self._holder, folder)  # of other worktrees
        return server.at_port(moved)

    def _new_server(
        self, folder: Any, place: KeeperLocation, service: Service, binaries: Any, wanted: Wanted | None
    ) -> PersistentServer:
        project, context, implementation = self._project, self._context, implementation_of(service.engine)
        templates = implementation.templates(
            binaries,
            service,
            directory=context.cache / "templates",
            locks=context.locks,
            host=context.host,
            work=place.run,
            fresh=project.fresh_templates,
        )
        template = (templates.find(wanted.fingerprint) if wanted else None) or templates.base()
        delete_tree(folder, within=place.folder)  # of a command that was killed here
        with explained("create the folder", folder):
            folder.mkdir(mode=0o700)
        found: PersistentServer = implementation.lay_out(
            folder,
            place.run,
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
