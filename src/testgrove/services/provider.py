"""The interface to services, the same for every engine and host.

A run, a test session, a long-lived worktree and a command that needs an empty database all do the same: they create
the Provider of a service, compute the template's fingerprint from its traits, and pass it a DatabaseRequest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from testgrove.core.frozen import frozen

if TYPE_CHECKING:
    from testgrove.core.leases import Leases
    from testgrove.core.model import DatabaseAccess, Lease
    from testgrove.services.allocation import Allocation
    from testgrove.services.base import Launcher
    from testgrove.services.hosts.embedded import EmbeddedHost
    from testgrove.services.owner_marks import Kind
    from testgrove.system.locks import LockFile

    Build = Callable[[DatabaseAccess], object]


class Ports(Protocol):
    """The ports of one owner's servers."""

    def start(self, name: str, start: Callable[[int], Any]) -> Any:
        """Call start with a leased port, and with the next one while it raises ``port-taken``; return its result."""

    def give_back(self, port: int) -> None:
        """Release a port on which nothing listens any more."""


@dataclass
class Context:
    """Who needs services: a run, a session, or a command.

    cache: the user's cache of templates. fresh: build templates anew instead of using cached ones. kind: written to the
    owner marks of databases. folder: the owner's temporary folder, in memory if there is room. Databases of a worktree
    that outlives the command (kind ``worktree``) are recorded in its leases; they have no folder, ports or host here.
    """

    launcher: Launcher
    locks: LockFile
    cache: Path
    project_id: str
    fresh: bool
    kind: Kind
    leases: Leases
    folder: Path
    ports: Ports
    host: EmbeddedHost


@frozen
class Traits:
    """The facts that a migration's result depends on, for a template's fingerprint. engine: its name, version and
    build."""

    engine: str
    encoding: str = ""
    locale: str = ""
    extensions: tuple[str, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)


@frozen
class TemplateSpec:
    """The template that is needed. build: migrates an empty database."""

    fingerprint: str
    build: Build


def _ignore(*_told: object) -> None:
    """The default for a caller that needs no messages."""


@frozen
class DatabaseRequest:
    """One database that is asked for.

    label: the worktree's name, for folders. owner: shown to people in the owner mark. template_spec: the template to
    clone; None for an empty database. file: the path, for engines whose databases are files. say: called with what is
    waited for. check: called between steps; both may raise to cancel. note: called with notes for the user. left:
    called with the lease of a database that was kept because it no longer has testgrove's mark.
    """

    name: str
    label: str
    owner: str
    leases: Leases
    file: Path
    template_spec: TemplateSpec | None = None
    say: Callable[[str], None] = _ignore
    check: Callable[[], object] = _ignore
    note: Callable[[str], object] = _ignore
    left: Callable[[Lease], object] = _ignore


class ProvisionedDatabase:
    """A provisioned database. drop, stop: what these methods do; by default nothing, a file goes with its folder."""

    def __init__(
        self, access: DatabaseAccess, drop: Callable[[], object] = _ignore, stop: Callable[[], object] = _ignore
    ) -> None:
        self.access = access
        self._drop, self._stop = drop, stop

    def drop(self) -> str:
        """Drop it; return a note for the user, or nothing. Raises UnavailableError."""
        self._drop()
        return ""

    def further(self) -> list[str]:
        """Return the names of the other databases that its role has created. Raises UnavailableError."""
        return []

    def stop(self) -> None:
        """Stop its server if testgrove started it. Idempotent."""
        self._stop()


@frozen
class Allocator:
    """Gives the clients of a broker their databases of one service. Safe to use from several threads.

    open: returns the allocation of one client; raises TestgroveError if it can have none. close: releases what is left,
    after all allocations are closed; idempotent.
    """

    open: Callable[[], Allocation]
    close: Callable[[], object] = _ignore


class Provider:
    """Provisions one service on one host. Safe to use from several threads. note: for the user, or empty."""

    note = ""

    def find(self) -> None:
        """Check that the service is available, before anything is created. Idempotent. Raises TestgroveError."""

    def start_ahead(self) -> None:
        """Start slow work in advance."""

    def traits(self) -> Traits | None:
        """Return what the fingerprint of a template depends on; None if the service has no templates."""
        return None

    def make(self, request: DatabaseRequest) -> ProvisionedDatabase:
        """Create a database. Raises TestgroveError."""
        raise NotImplementedError

    def allocator(self, template_spec: Callable[[], TemplateSpec], owner: str) -> Allocator | None:  # noqa: ARG002 - there is none
        """Return what gives tests their own databases; None if that is not possible.

        template_spec: called at the first request of a test.
        """
        return None

    def close(self) -> None:
        """Release everything except what leases name."""
