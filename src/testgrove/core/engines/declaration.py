"""An engine's declaration: plain data, which every layer may ask, and the name of its implementation.

A declaration is imported whenever a project declares a service, so the module that holds it must be cheap: no driver,
no server, nothing but this module. What does the work is named by `implementation`, and imported when it is needed.
"""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING, Any, Literal

from testgrove.core.frozen import frozen

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from testgrove.core.model import DatabaseAccess
    from testgrove.core.settings.types import Service

Isolation = Literal["database", "instance", "file"]


@frozen
class Hints:
    """Signs in a project's files that it uses an engine, and the ways it reads its address, for `init`.

    packages: distributions that it depends on. images: a regular expression for images in Compose files. guessed: a
    project with migrations and none of the other hints uses this engine. prefixes: the first words of variables
    (``POSTGRES`` of ``POSTGRES_HOST``). urls: whole names of variables that hold a URL. facts: ``host``, ``port``,
    ``user``, ``password`` and ``name``, as texts with references to the engine's variables. numbered: its databases are
    numbers in one instance. open_settings: settings of a server that asks for no password; refusal: what one that does
    answers without it. backends: a regular expression for the engine's backends in Django's settings.
    """

    packages: frozenset[str] = frozenset()
    images: str = ""
    guessed: bool = False
    prefixes: tuple[str, ...] = ()
    urls: tuple[str, ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    numbered: bool = False
    open_settings: str = ""
    refusal: str = ""
    backends: str = ""


@frozen
class Fixture:
    """A pytest fixture: what tests get of a database that the broker hands out. The plugin makes it in their process.

    name: also with the prefix ``testgrove_``. scope: ``session`` is one database for each pytest process, emptied
    before each test if the engine isolates by instances; ``function`` is one for each test. All fixtures of an engine
    with the same scope are about the same database. value: a text in which ``{url}``, ``{name}``, ``{host}``,
    ``{port}``, ``{user}``, ``{password}`` and ``{socket}`` are replaced. make: ``module:callable`` in the environment
    of the tests, such as a driver, imported when a test first asks; it is called with the value and with `keywords`,
    whose texts are filled in the same way (lists become tuples), and returns the fixture's value. close: the method of
    that value to call in the end. doc: a line for ``pytest --fixtures``.
    """

    name: str
    scope: Literal["session", "function"] = "session"
    value: str = "{url}"
    make: str = ""
    keywords: Mapping[str, Any] = field(default_factory=dict)
    close: str = ""
    doc: str = ""


@frozen
class Clients:
    """Client programs that find the server by variables, or by options that can be put before the user's own.

    programs: their names. reads: the variables. options, secrets: for programs that read none of them: options, and
    variables, with the engine's variable that has the value. elsewhere: options with which a user names a server.
    """

    programs: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    options: tuple[tuple[str, str], ...] = ()
    secrets: tuple[tuple[str, str], ...] = ()
    elsewhere: tuple[str, ...] = ()


@frozen
class Engine:
    """One engine's declaration. The entry point of the group ``testgrove.engines`` with the engine's name leads to it.

    Attributes:
        name: in settings, in the broker's protocol, in leases.
        title: in messages (``PostgreSQL``).
        implementation: ``package.module:NAME`` of an object as services.engines.protocols.Implementation describes it.
        port: where its servers listen by default; 0 for one without servers.
        schemes: of its URLs; the first is the one that is written. aliases: schemes that mean another one.
        isolation: how a worktree gets its own: a ``database`` on a shared server, a server ``instance``, a ``file``.
        hosts: where it can run. shared_only: an external server of it has one database, so that worktrees can only
            share it (`isolation = "none"`).
        test_isolations: how a single test gets a fresh one from the broker; the first is the default.
        url_variable: what the default service's URL is called. variables: further variables of the default service,
            by name; variable_names: all that there can be.
        user_variable, password_variable: where clients find them when a URL has none. user: the name that the owner of
            an instance has.
        default_database: what a URL without a database means; empty where a URL must name one.
        socket: the name of the Unix socket in a server's socket folder, with ``{port}``.
        migrates: it has a schema that a command migrates, and that can be read and compared. read_from: the variables
            that a migration command should read, for messages.
        dump: the name of the file in which a failed test's database is kept; empty where nothing can be kept.
        companion_suffixes: endings of further files beside a database that is one.
        without: keys of a service's table that mean nothing for it. settings: a subclass of Service, for further keys.
        fixtures: for tests, of the default service.
        hints: for `init`.
        clients: the programs that reach a worktree's own server when they are typed in it.
        describe: a database's URL, with its password or, for people, without; where url_of() would not do.
    """

    name: str
    title: str
    implementation: str
    port: int
    schemes: tuple[str, ...]
    isolation: Isolation
    test_isolations: tuple[str, ...]
    url_variable: str
    aliases: Mapping[str, str] = field(default_factory=dict)
    hosts: tuple[str, ...] = ("embedded", "external")
    shared_only: bool = False
    variables: Callable[[DatabaseAccess], dict[str, str]] = lambda _access: {}
    variable_names: tuple[str, ...] = ()
    user_variable: str = ""
    password_variable: str = ""
    user: str = "default"
    default_database: str = ""
    socket: str = ""
    migrates: bool = False
    read_from: str = "DATABASE_URL"
    dump: str = ""
    companion_suffixes: tuple[str, ...] = ()
    without: frozenset[str] = frozenset()
    settings: type[Service] | None = None
    fixtures: tuple[Fixture, ...] = ()
    hints: Hints = Hints()
    clients: Clients = Clients()
    describe: Callable[[DatabaseAccess, bool], str] | None = None

    @property
    def refused(self) -> frozenset[str]:
        """The keys of a service's table that mean nothing for it, those about migrations included."""
        return self.without if self.migrates else self.without | {"migrate", "migrate_to", "inputs"}

    def url_of(self, access: DatabaseAccess, *, redacted: bool) -> str:
        """A database's URL, as most drivers read it: ``scheme://user:password@host:port/name``."""
        if self.describe is not None:
            return self.describe(access, redacted)
        from urllib.parse import quote  # noqa: PLC0415 - most commands print no URL

        secret = access.password.reveal()
        password = "" if redacted or not secret else f":{quote(secret, safe='')}"
        user = f"{quote(access.user, safe='')}{password}@" if access.user else ""
        return f"{self.schemes[0]}://{user}{access.host}:{access.port}/{access.name}"
