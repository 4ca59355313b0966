"""What engines implement. An engine's `implementation` (see core.engines.declaration) is one object with these methods.

All have those of Engine; besides, those for their kind of isolation: SharedServer for a database on a shared server,
InstanceServer for a server of one's own, FileEngine. One that can use a server which somebody else runs has those of
External; one that declares `migrates`, those of Schemas; one that declares `dump`, those of Dumps. Each is checked by
the contract suite in testgrove.testing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from testgrove.core.leases import Leases
    from testgrove.core.migrations.schema import Schema
    from testgrove.core.model import DatabaseAccess, Lease
    from testgrove.core.secret import Secret
    from testgrove.core.server_url import ServerUrl
    from testgrove.core.settings.types import Service
    from testgrove.services.base import Endpoint, Launcher
    from testgrove.services.hosts.embedded import EmbeddedHost
    from testgrove.services.keeper.client import KeeperClient
    from testgrove.services.owner_marks import Kind
    from testgrove.services.provider import Allocator, Build, Traits
    from testgrove.system.locks import LockFile, OnWait


class Engine(Protocol):
    """What every engine has."""

    def require(self) -> None:
        """Raise PreconditionError (``no-driver``) where a driver that it needs is not installed."""

    def shell(self, url: str, service: Service | None) -> tuple[str, ...]:
        """The command line of its client program. Raises PreconditionError (``no-client-program``)."""

    def client_environ(self, access: DatabaseAccess) -> dict[str, str]:
        """What client programs need besides a URL without the password."""

    def client_programs(self, path: str | None) -> tuple[Path, ...]:
        """Client programs that a worktree is to have beside its environment's Python, where the PATH has none."""


class Server(Protocol):
    """A running server of ours, with databases that are clones of one template."""

    endpoint: Endpoint
    template: Any

    @property
    def alive(self) -> bool:
        """Whether its process is there."""

    def outlives(self, seconds: float) -> bool:
        """Whether it is alive after that time."""

    def create_database(self, name: str, *, owner: str) -> DatabaseAccess:
        """Clone the template, for a role of its own. Raises PreconditionError (``database-exists``)."""

    def create_empty(self, name: str, *, owner: str) -> DatabaseAccess:
        """Make one with nothing in it but what the template of an empty server has."""

    def drop_database(self, name: str) -> None:
        """Drop it, with everything that its role has made; nothing to do when it is gone."""

    def further_databases(self, name: str) -> list[str]:
        """What the role of that database has made besides."""

    def stop(self) -> None:
        """End it; its data is thrown away. A second call does nothing."""


class Templates(Protocol):
    """Templates on disk that servers are started on; see engines.postgres.template_cache for the rules."""

    def find(self, fingerprint: str) -> Any:
        """The template with this fingerprint; None where there is none."""

    def base(self) -> Any:
        """What an empty server is started on."""

    def ensure(
        self, fingerprint: str, build: Build, *, on_port: Callable[[Callable[[int], Any]], Any], on_wait: OnWait | None
    ) -> Any:
        """The template with this fingerprint, built if it is not there."""


class PersistentServer(Protocol):
    """A server of a project's own, which its keeper starts, with databases for all worktrees."""

    @property
    def endpoint(self) -> Endpoint:
        """How its owner reaches it."""

    @property
    def folder(self) -> Path:
        """Where its data lies."""

    def start(self, keeper: KeeperClient) -> None:
        """Have it running. Raises UnavailableError."""

    def at_port(self, port: int) -> PersistentServer:
        """Return the same server with another port."""

    def move(self, port: int) -> PersistentServer:
        """The same server on another port, from its next start on."""

    def has(self, name: str) -> bool:
        """Whether there is such a database."""

    def template(
        self, fingerprint: str, build: Build, extensions: tuple[str, ...], *, fresh: bool = False
    ) -> tuple[Any, str]:
        """The template with this fingerprint, built if need be; and a note about the build."""

    def clone(self, template: Any, name: str, *, owner: str, password: Secret | None = None) -> DatabaseAccess:
        """A database like a template, with a role of its name."""

    def create_empty(
        self, name: str, *, owner: str, extensions: tuple[str, ...] = (), password: Secret | None = None
    ) -> DatabaseAccess:
        """An empty database, with a role of its name."""

    def access(self, name: str, password: Secret) -> DatabaseAccess:
        """How the database of that name is reached."""

    def drop(self, name: str) -> None:
        """Drop a role and all databases it owns."""


class SharedServer(Engine, Protocol):
    """An engine whose server has a database for each worktree, cloned from a template."""

    def find(self, launcher: Launcher, service: Service) -> Any:
        """Its binaries, with `version` and `major`. Raises PreconditionError, UsageError."""

    def traits(self, binaries: Any, service: Service) -> Traits:
        """Implement Provider."""

    def prepare(self) -> None:
        """What can be done while a server starts, such as importing a driver. Raises PreconditionError."""

    def templates(
        self,
        binaries: Any,
        service: Service,
        *,
        directory: Path,
        locks: LockFile,
        host: EmbeddedHost,
        work: Path,
        fresh: bool,
    ) -> Templates:
        """The templates in a folder. work: where servers are started to build one."""

    def start(
        self, template: Any, port: int, *, binaries: Any, service: Service, host: EmbeddedHost, directory: Path
    ) -> Server:
        """Start a server on a template, in an empty folder. Raises PreconditionError (``port-taken``)."""

    def pool(self, find: Callable[[], Any], folder: Path, owner: str) -> Allocator:
        """Databases for tests. find: the server, which may have to be started; folder: in which its data lies."""

    def initialize(
        self, folder: Path, run: Path, *, template: Any, binaries: Any, service: Service, host: EmbeddedHost, port: int
    ) -> PersistentServer:
        """Lay a persistent server's data out. run: for its socket."""

    def persistent(self, folder: Path) -> PersistentServer | None:
        """The server in a folder; None where initialize() did not come to its end."""


class Instance(Protocol):
    """A running server that one owner has alone."""

    @property
    def endpoint(self) -> Endpoint:
        """How its owner reaches it."""

    def create_database(self, name: str, *, owner: str) -> DatabaseAccess:
        """How its one database is reached."""

    def stop(self) -> None:
        """End it, and what is in it. A second call does nothing."""


class InstanceResetter(Protocol):
    """Looks after an instance between the tests of one client."""

    def reset(self) -> bool:
        """Take away what a test has left; False where that takes a new instance."""

    def close(self) -> None:
        """Hang up."""


class InstanceServer(Engine, Protocol):
    """An engine that gives each worktree a server instance of its own. testgrove.engines has a base class for it."""

    def find(self, launcher: Launcher, service: Service) -> Any:
        """Its binary. Raises PreconditionError, UsageError."""

    def start(
        self,
        binary: Any,
        *,
        launcher: Launcher,
        directory: Path,
        port: int,
        password: Secret,
        settings: Mapping[str, str],
    ) -> Instance:
        """Start an instance in an empty folder. Raises PreconditionError (``port-taken``)."""

    def resetter(self, instance: Instance) -> InstanceResetter:
        """Look after an instance that is as new."""

    def initialize_instance(
        self, folder: Path, *, binary: Any, port: int, password: Secret, settings: Mapping[str, str]
    ) -> DatabaseAccess:
        """Describe a persistent instance in a service's folder, for the keeper to start."""

    def move_instance(self, folder: Path, port: int) -> None:
        """The same instance on another port, from its next start on."""

    def empty(self, access: DatabaseAccess) -> None:
        """Delete everything in an instance. Raises UnavailableError."""


class FileTemplates(Protocol):
    """Migrated files, one for each fingerprint."""

    def copy_to(self, path: Path, fingerprint: str, build: Build, *, on_wait: OnWait | None = None) -> DatabaseAccess:
        """Put a copy at a path, which is not there yet."""


class FileEngine(Engine, Protocol):
    """An engine whose databases are files."""

    def traits(self) -> Traits:
        """Implement Provider."""

    def templates(self, cache: Path, locks: LockFile, *, fresh: bool) -> FileTemplates:
        """The migrated files below the user's cache."""

    def create(self, path: Path) -> DatabaseAccess:
        """An empty one. Raises PreconditionError where something is there."""

    def remove(self, path: Path) -> None:
        """Take one away, with the files beside it."""


class ExternalConnection(Protocol):
    """A server that somebody else runs, as one command uses it."""

    url: ServerUrl
    note: str

    def open(self) -> None:
        """Connect, and become a living owner of what is made. Raises UnavailableError, PreconditionError."""

    def traits(self) -> Traits | None:
        """Implement Provider."""

    def sweep(self) -> list[str]:
        """Take away what dead owners have left."""

    def ensure_template(
        self,
        fingerprint: str,
        build: Build,
        *,
        leases: Leases,
        on_wait: Callable[[str], object] | None = None,
        on_note: Callable[[str], object] | None = None,
    ) -> str:
        """The name of a template, built if need be. Not called where traits() says that there are none."""

    def drop_template(self, name: str) -> None:
        """Take a template away."""

    def create_database(
        self, name: str, *, template: str, owner: str, leases: Leases, kind: Kind = "run"
    ) -> DatabaseAccess:
        """Make a database, its lease before it."""

    def pool(self, find: Callable[[], str], leases: Leases, owner: str) -> Allocator | None:
        """Databases for tests; None where there are none. find: the template's name."""

    def close(self) -> None:
        """Disconnect: other commands then see this owner as gone."""


class TemplateServer(ExternalConnection, Protocol):
    """One that has templates of ours."""

    def templates(self) -> list[tuple[str, float]]:
        """Their names, and how many hours ago each was last asked for."""


class External(Engine, Protocol):
    """An engine that can use a server by its URL."""

    def external(self, url: ServerUrl, service: Service) -> ExternalConnection:
        """The server of a URL. Nothing is connected to yet."""

    def check_connection(self, url: ServerUrl) -> tuple[str, Secret]:
        """The user and the password of a database that answers. Raises UnavailableError, PreconditionError."""

    def drop_leased(self, data: Mapping[str, Any], *, held: bool = False) -> str:
        """Take away what a lease's data name; what should be known, or nothing. Idempotent. held: its owner lives."""

    def lease_by_mark(self, url: ServerUrl, name: str, owner: str) -> Lease:
        """A lease for a database whose own lease was lost; see core.leases."""

    def recreated(self, data: Mapping[str, Any]) -> str:
        """What should be known of a database that tests have made again, without our mark; empty where it was not."""


class Schemas(Protocol):
    """A schema that a project migrates. All raise UnavailableError."""

    def read_schema(self, access: DatabaseAccess) -> Schema:
        """Each thing by its kind and name, with its definition; nothing that a migration tool keeps for itself."""

    def is_untouched(self, access: DatabaseAccess) -> bool:
        """Whether there is nothing at all in a database."""

    def delete_rows(self, access: DatabaseAccess) -> None:
        """Empty every table, but those that migration tools keep for themselves."""

    def execute(self, sql: str, access: DatabaseAccess, *, timeout: float) -> None:
        """Execute a script. What is wrong with it is the code ``script-failed``."""


class Dumps(Protocol):
    """Databases that can be kept as files."""

    def dump(self, access: DatabaseAccess, file: Path, launcher: Launcher, service: Service | None) -> None:
        """Write a database down. Raises UnavailableError."""

    def load(self, file: Path, access: DatabaseAccess, launcher: Launcher) -> None:
        """Fill an empty database from what dump() wrote. Raises UnavailableError."""
