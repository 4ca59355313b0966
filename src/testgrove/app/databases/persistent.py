"""Databases of worktrees that outlive a command: on the project's own servers, which its keeper holds."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from testgrove.app.databases.cell import CellDatabases, Make
from testgrove.app.databases.migration import fingerprint, migration
from testgrove.app.databases.persistent_ports import start_on_a_free_port
from testgrove.app.databases.persistent_services import rewrite_env_files
from testgrove.app.holder import Holder
from testgrove.app.keeper import KeeperPlace, keeper_of, new_place, place_of, project_owner
from testgrove.app.keeper_undo import kept_lock
from testgrove.app.launcher import SupervisedLauncher
from testgrove.app.port_leases import lease_server_port
from testgrove.app.project import Project
from testgrove.app.worktrees import records
from testgrove.app.worktrees.workspace import Workspace
from testgrove.core.migrations.command import migration_to
from testgrove.core.model import DatabaseAccess, Lease, LeaseKind
from testgrove.core.naming import database_name
from testgrove.core.settings.types import Service
from testgrove.services.base import generate_password
from testgrove.services.binaries import PostgresBinaries, find_postgres, find_redis
from testgrove.services.engines.postgres.persistent import KeptPostgres
from testgrove.services.engines.postgres.server import ENCODING, LOCALE, require_driver
from testgrove.services.engines.postgres.sql import load_driver
from testgrove.services.engines.postgres.template_cache import TemplateCache
from testgrove.services.engines.redis.persistent import write_instance
from testgrove.services.hosts import EmbeddedHost
from testgrove.services.keeper.client import KeeperClient
from testgrove.system.deletion import delete_tree
from testgrove.system.files import explained
from testgrove.system.store import StoredLeases

_BUILD_TIMEOUT = 1800.0  # seconds that another command's migration may take


class KeptDatabases:
    """Makes the databases of a worktree from `create`.

    revision: the migration to stop at, None for the newest; empty: no migration at all.
    """

    def __init__(self, project: Project, holder: Holder, *, revision: str | None = None, empty: bool = False) -> None:
        self._project, self._holder = project, holder
        self._revision, self._empty = revision, empty
        self._mutex = threading.Lock()  # engines of this command do not wait for "another command"
        self._launcher = SupervisedLauncher(holder.supervisors, threading.Event())
        where = project.locations
        self._host = EmbeddedHost(
            self._launcher,
            ours=(where.memory, where.scratch, where.cache, where.servers, where.open_servers),
            copies=where.binaries,
        )

    def making(self, engines: tuple[str, ...]) -> CellDatabases | None:
        """What makes the databases of some engines; None where there are none."""
        return CellDatabases(engines, partial(self._begin, engines)) if engines else None

    def _begin(self, engines: tuple[str, ...], creation: Workspace, making: CellDatabases) -> dict[str, Make]:
        makers: dict[str, Callable[[], DatabaseAccess]] = {}
        if "postgres" in engines:
            require_driver()
            service = self._service("postgres")
            binaries = find_postgres(service.version, service.extensions)
            migrated = bool(service.migrate) and not self._empty and self._revision is None
            wanted = ""
            if migrated:
                wanted = fingerprint(
                    service,
                    creation,
                    engine=f"postgres {binaries.version} {binaries.build}",
                    encoding=ENCODING,
                    locale=LOCALE,
                    extensions=service.extensions,
                    settings=service.settings,
                )
            makers["postgres"] = partial(self._postgres, creation, making, binaries, wanted)
        if "redis" in engines:
            makers["redis"] = partial(self._redis, creation, making)
        return makers

    def _postgres(
        self, creation: Workspace, making: CellDatabases, binaries: PostgresBinaries, wanted: str
    ) -> DatabaseAccess:
        service = self._service("postgres")
        name, password = database_name(creation.spec.id), generate_password()
        owner = f"worktree {creation.spec.id} of {self._project.main}"
        with self._keeper(making) as (place, keeper):
            server = self._server(place, keeper, binaries, wanted)
            template = None
            if wanted:
                build = migration(service.migrate, self._launcher, creation, making)
                template, note = server.template(wanted, build, service.extensions, fresh=self._project.fresh_templates)
                creation.notes += [note] if note else []
            data = place.data() | {"password": password.reveal()}
            lease = Lease(LeaseKind.KEPT_DATABASE, f"{server.folder}#{name}", data)
            records.worktree_leases(self._project, creation.spec.id).record(lease)
            making.check()
            if template:
                return server.clone(template, name, owner=owner, password=password)
            access = server.create_empty(name, owner=owner, extensions=service.extensions, password=password)
        if self._revision is not None:
            migration(migration_to(service, self._revision), self._launcher, creation, making)(access)
        return access

    def _redis(self, creation: Workspace, making: CellDatabases) -> DatabaseAccess:
        service = self._service("redis")
        binary = find_redis(self._launcher, service.version)
        leases = records.worktree_leases(self._project, creation.spec.id)
        with self._keeper(making) as (place, keeper):
            folder = place.folder / f"redis-{creation.spec.id}"
            port = self._lease_port(leases, folder.name)
            password = generate_password()
            leases.record(Lease(LeaseKind.SERVICE, str(folder), place.data() | {"password": password.reveal()}))
            with explained("create the folder", folder):
                folder.mkdir(mode=0o700)
            access = write_instance(folder, binary=binary, port=port, password=password, settings=service.settings)
            port = start_on_a_free_port(self._project, keeper, folder) or port
        return replace(access, port=port)

    @contextmanager
    def _keeper(self, making: CellDatabases) -> Iterator[tuple[KeeperPlace, KeeperClient]]:
        """Hold the project's keeper exclusively: only one command at a time creates or removes its databases."""
        project, locks = self._project, self._holder.locks
        what = "the project's servers, held by another command"
        with self._mutex, locks.hold(kept_lock(project.id), what=what, timeout=_BUILD_TIMEOUT, on_wait=making.say):
            place = place_of(project.store, project.id) or self._new_place()
            with keeper_of(place, locks, making.say) as keeper:
                yield place, keeper

    def _new_place(self) -> KeeperPlace:
        project = self._project
        closed = self._host.identity.user is not None
        place = new_place(project.locations, project.id, closed=closed)
        project.store.leases(project_owner(project.id)).record(place.lease())
        return place

    def _server(
        self, place: KeeperPlace, keeper: KeeperClient, binaries: PostgresBinaries, wanted: str
    ) -> KeptPostgres:
        folder = place.folder / f"postgres-{binaries.major}"
        server = KeptPostgres.read(folder) or self._new_server(folder, place, binaries, wanted)
        with ThreadPoolExecutor(1, "driver") as pool:
            driver = pool.submit(load_driver)  # takes longer than the server
            moved = start_on_a_free_port(self._project, keeper, folder)
            driver.result()
        if moved is None:
            return server
        rewrite_env_files(self._project, self._holder, folder)  # of other worktrees
        return server.at_port(moved)

    def _new_server(self, folder: Path, place: KeeperPlace, binaries: PostgresBinaries, wanted: str) -> KeptPostgres:
        project, service = self._project, self._service("postgres")
        cache = TemplateCache(
            project.locations.cache / "templates",
            self._holder.locks,
            binaries=binaries,
            host=self._host,
            work=place.run,
            extensions=service.extensions,
            settings=service.settings,
        )
        known = cache.find(wanted) if wanted and not project.fresh_templates else None
        template = known or cache.base()
        delete_tree(folder, within=place.folder)  # of a command that was killed here
        with explained("create the folder", folder):
            folder.mkdir(mode=0o700)
        return KeptPostgres.prepare(
            folder,
            place.run,
            template=template,
            binaries=binaries,
            host=self._host,
            port=self._lease_port(project.store.leases(project_owner(project.id)), folder.name),
            settings=service.settings,
        )

    def _service(self, engine: str) -> Service:
        return self._project.settings.services.named()[engine]

    def _lease_port(self, leases: StoredLeases, name: str) -> int:
        for lease in leases.all():
            if lease.kind == LeaseKind.PORTS and lease.data["name"] == name:
                return int(lease.data["port"])  # of a command that was killed here
        return lease_server_port(self._project, leases, name)
