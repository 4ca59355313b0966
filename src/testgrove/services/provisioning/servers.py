"""Databases on embedded servers: one server for each template, from which its databases are cloned."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from secrets import token_hex
from typing import TYPE_CHECKING, Any

from testgrove.core.engines.registry import engine_of
from testgrove.errors import TestgroveError, UnavailableError
from testgrove.services.provider import Provider, ProvisionedDatabase
from testgrove.system.files import atomic_write, explained

if TYPE_CHECKING:
    from testgrove.core.settings.types import Service
    from testgrove.services.engines.protocols import Server, SharedServer
    from testgrove.services.provider import Allocator, Context, DatabaseRequest, TemplateSpec, Traits

_PATIENCE = 0.1  # seconds between two looks whether waiting still makes sense
_DYING = 0.5  # seconds that a killed server may take to exit
_EMPTY = ""  # instead of a fingerprint, for a server without a migrated template


class ServerProvider(Provider):
    """The provider of an engine with a database for each worktree. name: the service's."""

    def __init__(self, engine: SharedServer, context: Context, name: str, service: Service) -> None:
        self._engine, self._context, self._name, self._service = engine, context, name, service
        self._installation: Any = None
        self._templates: Any = None
        self._ahead: threading.Thread | None = None
        self._servers: dict[str, Server] = {}  # by the template's fingerprint
        self._lost: list[Server] = []  # killed, and replaced by another one
        self._locks: dict[str, threading.Lock] = {}
        self._guard = threading.Lock()

    def find(self) -> None:
        """Implement Provider. Raises PreconditionError if no binaries are found."""
        with self._guard:
            if self._installation is None:
                context = self._context
                self._installation = self._engine.find(context.host, self._service)
                # Shared by all: it remembers which template could not be built, and does not retry.
                self._templates = self._installation.templates(
                    context.cache / "templates", context.locks, context.folder, fresh=context.fresh
                )

    def traits(self) -> Traits:
        """Implement Provider."""
        found: Traits = self._installation.traits()
        return found

    def start_ahead(self) -> None:
        """Start the server of the project's last run in advance: this run usually needs the same one."""
        self._ahead = threading.Thread(target=self._start_likely, name="ahead")
        self._ahead.start()

    def _start_likely(self) -> None:
        with suppress(TestgroveError, OSError):  # the cell that needs the server starts it again, and reports the error
            likely = self._last.read_text()
            if template := self._templates.find(likely):
                with self._lock(likely):
                    if likely not in self._servers:
                        self._servers[likely] = self._serve(template)

    @property
    def _last(self) -> Any:
        """The file with the last run's fingerprint, one for each version: binaries need a template of their version."""
        parts = (
            self._context.project_id,
            "" if self._name == self._service.engine else self._name,
            self._service.version,
        )
        return self._context.cache / "templates" / f"{'-'.join(filter(None, parts))}.last"

    def make(self, request: DatabaseRequest) -> ProvisionedDatabase:
        """Implement Provider."""
        self.find()
        server = self._server(request.template_spec, request.say, request.note)
        request.check()
        try:
            return self._make(server, request)
        except UnavailableError:
            if server.outlives(_DYING):
                raise
            return self._make(self._server(request.template_spec, request.say, request.note), request)

    def _make(self, server: Server, request: DatabaseRequest) -> ProvisionedDatabase:
        access = server.create_database(request.name, owner=request.owner)
        return _ServerDatabase(server, access, self._service.engine)

    def _server(
        self, template_spec: TemplateSpec | None, say: Callable[[str], object], note: Callable[[str], object]
    ) -> Server:
        key = template_spec.fingerprint if template_spec else _EMPTY
        lock = self._lock(key)
        while not lock.acquire(timeout=_PATIENCE):
            say("its server, which is being started")
        try:
            found = self._servers.get(key)
            if found is None:
                found = self._servers[key] = self._start(template_spec, say, note)
            elif not found.alive:
                self._lost.append(found)
                found = self._servers[key] = self._serve(found.template)
            return found
        finally:
            lock.release()

    def _lock(self, key: str) -> threading.Lock:
        with self._guard:
            return self._locks.setdefault(key, threading.Lock())

    def _start(
        self, template_spec: TemplateSpec | None, say: Callable[[str], object], note: Callable[[str], object]
    ) -> Server:
        if template_spec is None:
            return self._serve(self._templates.base())
        start = partial(self._context.ports.start, self._name)
        template = self._templates.ensure(template_spec.fingerprint, template_spec.build, on_port=start, on_wait=say)
        if template.note:
            note(template.note)
        if self._ahead is not None:
            atomic_write(self._last, template_spec.fingerprint.encode())
        return self._serve(template)

    def _serve(self, template: Any) -> Server:
        """Start a server on a template, in the owner's temporary folder."""
        directory = self._context.folder / f"{self._name[:8]}-{token_hex(4)}"
        with explained("create the server's folder", directory):
            directory.mkdir(mode=0o700)
        start = partial(self._installation.start, template, directory=directory)
        found: Server = self._context.ports.start(self._name, start)
        return found

    def allocator(self, template_spec: Callable[[], TemplateSpec], owner: str) -> Allocator:
        """Implement Provider."""

        def living() -> Server:
            """Return the server; if it was killed, start another one on the same template."""
            self.find()
            return self._server(template_spec(), lambda _said: None, lambda _note: None)

        return self._engine.pool(living, self._context.folder, owner)

    def close(self) -> None:
        """Stop the servers."""
        if self._ahead is not None:
            self._ahead.join()
        for server in (*self._servers.values(), *self._lost):
            server.stop()


class _ServerDatabase(ProvisionedDatabase):
    """A database on an embedded server."""

    def __init__(self, server: Server, access: Any, engine: str) -> None:
        super().__init__(access)
        self._server, self._engine = server, engine

    def drop(self) -> str:
        """Implement ProvisionedDatabase. If the server was killed, there is nothing to drop."""
        if self._server.alive:
            self._server.drop_database(self.access.name)
            return ""
        engine = engine_of(self._engine)
        return (
            f"its {engine.title} was stopped while the suite ran, and ${engine.url_variable} stopped answering;"
            " the fixture `database` continued with another server"
        )

    def further(self) -> list[str]:
        """Implement ProvisionedDatabase."""
        return self._server.further_databases(self.access.name) if self._server.alive else []

    def stop(self) -> None:
        """Implement ProvisionedDatabase."""
        self._server.stop()
