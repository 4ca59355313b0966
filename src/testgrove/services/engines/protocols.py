"""The protocols of engines. An engine's `implementation` (see core.engines.declaration) is one object with these
methods.

Every engine implements Engine and the protocol of its isolation: SharedServer (a database for each worktree on a shared
server) or FileEngine (a file for each worktree); one with a server for each worktree is a subclass of
services.instances.InstanceEngine. Optional are External (it can use a server by its URL), Schemas (it declares
`migrates`) and Dumps (it declares `dump`). The contract suite in testgrove.testing checks each of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from testgrove.services.base import Engine

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
    from testgrove.services.owner_marks import Kind
    from testgrove.services.provider import Allocator, Build, Traits
    from testgrove.system.locks import LockFile, OnWait


class Server(Protocol):
    """A running embedded server, with databases that are clones of one template."""

    endpoint: Endpoint
    template: Any

    @property
    def alive(self) -> bool:
        """Whether its process is running."""

    def outlives(self, seconds: float) -> bool:
        """Return whether it is still alive after that time."""

    def create_database(self, name: str, *, owner: str) -> DatabaseAccess:
        """Clone the template, for a role of its own. Raises PreconditionError (``database-exists``)."""

    def drop_database(self, name: str) -> None:
        """Drop a database, with everything that its role has created. Idempotent."""

    def further_databases(self, name: str) -> list[str]:
        """Return the names of the other databases that its role has created."""

    def stop(self) -> None:
        """Stop it and discard its data. Idempotent."""


class Templates(Protocol):
    """Templates on disk, from which servers start. engines.postgres.template_cache has the rules."""

    def find(self, fingerprint: str) -> Any:
        """Return the template with this fingerprint; None if there is none."""

    def base(self) -> Any:
        """Return the template of an empty server."""

    def ensure(
        self, fingerprint: str, build: Build, *, on_port: Callable[[Callable[[int], Any]], Any], on_wait: OnWait | None
    ) -> Any:
        """Return the template with this fingerprint; build it if it is missing."""


class PersistentServer(Protocol):
    """A project's server, started by its keeper, with databases for all worktrees."""

    @property
    def endpoint(self) -> Endpoint:
        """How its owner reaches it."""

    @property
    def folder(self) -> Path:
        """The folder with its data."""

    def at_port(self, port: int) -> PersistentServer:
        """Return the same server with another port."""

    def move(self, port: int) -> PersistentServer:
        """Return the same server, which uses another port from its next start on."""

    def has(self, name: str) -> bool:
        """Return whether it has a database of that name."""

    def template(
        self, fingerprint: str, build: Build, extensions: tuple[str, ...], *, fresh: bool = False
    ) -> tuple[Any, str]:
        """Return the template with this fingerprint, built if it is missing, and a note about the build."""

    def clone(self, template: Any, name: str, *, owner: str, password: Secret | None = None) -> DatabaseAccess:
        """Clone a template, with a role of the database's name."""

    def create_empty(
        self, name: str, *, owner: str, extensions: tuple[str, ...] = (), password: Secret | None = None
    ) -> DatabaseAccess:
        """Create an empty database, with a role of its name."""

    def access(self, name: str, password: Secret) -> DatabaseAccess:
        """Return how to connect to the database of that name."""

    def drop_database(self, name: str) -> None:
        """Drop a database, with everything that its role has created. Idempotent."""


class Installation(Protocol):
    """An engine's programs on a host, for a service."""

    @property
    def major(self) -> Any:
        """The version, as far as data of one is of no use to another."""

    def traits(self) -> Traits:
        """Implement Provider."""

    def templates(self, directory: Path, locks: LockFile, work: Path, *, fresh: bool) -> Templates:
        """Return the templates in a folder. work: the folder for servers that build one."""

    def start(self, template: Any, port: int, directory: Path) -> Server:
        """Start a server on a template, in an empty folder. Raises PreconditionError (``port-taken``)."""

    def initialize(self, folder: Path, run: Path, template: Any, port: int) -> PersistentServer:
        """Create a persistent server's data. run: the folder for its socket."""


class SharedServer(Engine, Protocol):
    """An engine whose server has a database for each worktree, cloned from a template."""

    def find(self, host: EmbeddedHost, service: Service) -> Installation:
        """Return its programs. Raises PreconditionError, UsageError."""

    def prepare(self) -> None:
        """Do what can be done while a server starts, such as importing a driver. Raises PreconditionError."""

    def pool(self, find: Callable[[], Any], folder: Path, owner: str) -> Allocator:
        """Return the pool of databases for tests. find: returns the server, started if needed. folder: for its data."""

    def persistent(self, folder: Path) -> PersistentServer | None:
        """Return the server in a folder; None if initialize() was interrupted."""


class InstanceResetter(Protocol):
    """Resets an instance between the tests of one client."""

    def reset(self) -> bool:
        """Delete what a test has left; return False if a new instance is needed."""

    def close(self) -> None:
        """Close its connection."""


class FileTemplates(Protocol):
    """Migrated files, one for each fingerprint."""

    def copy_to(self, path: Path, fingerprint: str, build: Build, *, on_wait: OnWait | None = None) -> DatabaseAccess:
        """Copy the file to a path that does not exist yet."""


class FileEngine(Engine, Protocol):
    """An engine whose databases are files."""

    def traits(self) -> Traits:
        """Implement Provider."""

    def templates(self, cache: Path, locks: LockFile, *, fresh: bool) -> FileTemplates:
        """Return the migrated files in the user's cache."""

    def create(self, path: Path) -> DatabaseAccess:
        """Create an empty database. Raises PreconditionError if the path exists."""

    def remove(self, path: Path) -> None:
        """Delete a database and its companion files."""


class ExternalConnection(Protocol):
    """A command's use of an external server."""

    url: ServerUrl
    note: str

    def open(self) -> None:
        """Connect, as the living owner of what is created. Raises UnavailableError, PreconditionError."""

    def traits(self) -> Traits | None:
        """Implement Provider."""

    def sweep(self) -> list[str]:
        """Drop what dead owners have left; return notes for the user."""

    def ensure_template(
        self,
        fingerprint: str,
        build: Build,
        *,
        leases: Leases,
        on_wait: Callable[[str], object] | None = None,
        on_note: Callable[[str], object] | None = None,
    ) -> str:
        """Return the name of a template, built if it is missing. Not called if traits() is None."""

    def drop_template(self, name: str) -> None:
        """Drop a template."""

    def create_database(
        self, name: str, *, template: str, owner: str, leases: Leases, kind: Kind = "run"
    ) -> DatabaseAccess:
        """Record the lease of a database, then create the database."""

    def pool(self, find: Callable[[], str], leases: Leases, owner: str) -> Allocator | None:
        """Return the pool of databases for tests; None if it is not supported. find: returns the template's name."""

    def close(self) -> None:
        """Disconnect; to other commands, this owner is then dead."""


class TemplateServer(ExternalConnection, Protocol):
    """An external server with testgrove's templates."""

    def templates(self) -> list[tuple[str, float]]:
        """Return the name of each template, and the hours since its last use."""


class External(Engine, Protocol):
    """An engine that can use a server by its URL."""

    def external(self, url: ServerUrl, service: Service) -> ExternalConnection:
        """Return the server of a URL, without connecting to it."""

    def check_connection(self, url: ServerUrl) -> tuple[str, Secret]:
        """Connect once; return the user and the password. Raises UnavailableError, PreconditionError."""

    def drop_leased(self, data: Mapping[str, Any], *, held: bool = False) -> str:
        """Drop what a lease's data name; return a note or nothing. Idempotent. held: its owner is alive."""

    def lease_by_mark(self, url: ServerUrl, name: str, owner: str) -> Lease:
        """Return a lease for a database whose own lease was lost (see core.leases)."""

    def recreated(self, data: Mapping[str, Any]) -> str:
        """Return a note if tests have recreated a database without testgrove's mark; else nothing."""


class Schemas(Protocol):
    """Access to the schema that a project migrates. All methods raise UnavailableError."""

    def read_schema(self, access: DatabaseAccess) -> Schema:
        """Return each object's definition by kind and name, without the migration tools' own tables."""

    def is_untouched(self, access: DatabaseAccess) -> bool:
        """Return whether a database has no objects at all."""

    def delete_rows(self, access: DatabaseAccess) -> None:
        """Delete the rows of every table, except the migration tools' own."""

    def execute(self, sql: str, access: DatabaseAccess, *, timeout: float) -> None:
        """Execute a script. Raises UnavailableError (``script-failed``) if the script fails."""


class Dumps(Protocol):
    """Writing databases to files, and reading them back."""

    def dump(self, access: DatabaseAccess, file: Path, launcher: Launcher, service: Service | None) -> None:
        """Write a database to a file. Raises UnavailableError."""

    def load(self, file: Path, access: DatabaseAccess, launcher: Launcher) -> None:
        """Load a file from dump() into an empty database. Raises UnavailableError."""
